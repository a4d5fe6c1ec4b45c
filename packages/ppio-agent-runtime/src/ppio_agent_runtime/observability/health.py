"""`GET /ping`: depends on no handler, pool or lock. The agent's ping handler runs separately, with a time limit."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import UTC, datetime
from enum import Enum
from functools import partial
from typing import Any

from ppio_agent_models import ConfigurationError, SerializationError

from ..event_loop import run_in_thread
from ..serialization import encode

HEALTHY, BUSY, UNHEALTHY = "Healthy", "HealthyBusy", "Unhealthy"

_WORDS = {
    **dict.fromkeys(("healthy", "ok", "up", "true"), HEALTHY),
    **dict.fromkeys(("healthybusy", "busy", "working"), BUSY),
    **dict.fromkeys(("unhealthy", "down", "error", "false"), UNHEALTHY),
}

PingHandler = Callable[[], Any]

_Answer = tuple[str, str | None, dict[str, Any]]
"""Status, message and further fields."""


class Health:
    """The health of the service: busy while work is in flight, unhealthy while draining or if its ping handler says so.

    Args:
        ping_timeout_seconds: Longest time for a ping handler.
        run_async: Runs an async ping handler on the event loop of the handlers; None if `ping` runs on the same loop.

    Attributes:
        draining: The service is shutting down.
        details: Functions that return further fields of the response.
        warnings: Functions that return a warning for its message, or None; they don't change the status.
        busy_checks: Functions that return whether there is work in flight.
        is_exact: The ping handler's status is used even while there is work.
    """

    def __init__(
        self,
        ping_timeout_seconds: float,
        run_async: Callable[[Coroutine[Any, Any, Any]], Awaitable[Any]] | None = None,
    ) -> None:
        self.draining: bool = False
        self.is_exact = False
        self.details: list[Callable[[], dict[str, Any]]] = []
        self.warnings: list[Callable[[], str | None]] = []
        self.busy_checks: list[Callable[[], bool]] = []
        self._run_async = run_async
        self._timeout_seconds = ping_timeout_seconds
        self._handler: PingHandler | None = None
        self._check: asyncio.Future[_Answer] | None = None
        self._own_status = self._status = HEALTHY
        self._changed_at = int(time.time())

    def set_handler(self, handler: Any) -> None:
        """Call `handler` for every ping from now on.

        Raises:
            ConfigurationError: It cannot be called without arguments.
        """
        if not callable(handler) or inspect.isclass(handler):
            what = "above a class" if inspect.isclass(handler) else f"with parentheses or above {handler!r}"
            raise ConfigurationError(
                f"A ping handler is a function that is called without arguments; @app.ping does not work {what}."
            )
        try:
            inspect.signature(handler).bind()
        except (TypeError, ValueError) as error:
            raise ConfigurationError(
                f"A ping handler is called without arguments, but {handler!r} requires some: {error}."
            ) from error
        self._handler = handler

    def reset(self) -> None:
        """Reset for a new lifespan; an earlier one may have ended on another event loop."""
        self.draining = False
        self._check = None
        self.update()

    def update(self) -> str:
        """Return the current status, and record when it changes. Call this whenever work starts or ends."""
        status = self._own_status
        if self.draining:
            status = UNHEALTHY
        elif status == HEALTHY and not self.is_exact and any(is_busy() for is_busy in self.busy_checks):
            status = BUSY
        if status != self._status:
            self._status = status
            self._changed_at = int(time.time())
        return status

    async def ping(self) -> tuple[int, bytes]:
        """Return HTTP status and JSON body of the response."""
        message: str | None = "draining" if self.draining else None
        extra: dict[str, Any] = {}
        if self._handler is not None and not self.draining:
            self._own_status, message, extra = await self._ask(self._handler)
        status = self.update()
        messages = [text for text in (message, *(warning() for warning in self.warnings)) if text is not None]
        body = {
            "status": status,
            "message": "; ".join(messages) if messages else None,
            "time_of_last_update": self._changed_at,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        for detail in self.details:
            body |= detail()
        return 503 if status == UNHEALTHY else 200, _encode_ping(extra, body)

    async def _ask(self, handler: PingHandler) -> _Answer:
        """Call the ping handler. Pings that arrive meanwhile share the call.

        An async one runs on the agent's loop, any other in a thread of its own.
        """
        if self._check is None:
            if _is_async(handler):
                answer = _ask_async(handler)
                self._check = asyncio.ensure_future(answer if self._run_async is None else self._run_async(answer))
            else:
                self._check = run_in_thread(_ask_plain, handler, name="agent-ping")
            self._check.add_done_callback(self._checked)
        try:
            return await asyncio.wait_for(asyncio.shield(self._check), self._timeout_seconds)
        except TimeoutError:
            return UNHEALTHY, f"The ping handler did not return within {self._timeout_seconds:g} s.", {}

    def _checked(self, check: asyncio.Future[_Answer]) -> None:
        self._check = None
        if not check.cancelled():
            check.exception()  # marks it as retrieved: the ping that started it may have given up


def _is_async(handler: PingHandler) -> bool:
    """Return whether a function, partial, method or callable object is async."""
    while isinstance(handler, partial):
        handler = handler.func
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _ask_plain(handler: PingHandler) -> _Answer:
    try:
        return read_answer(handler())
    except BaseException as error:  # noqa: BLE001  # also SystemExit: the ping gets a response in any case
        return _raised(error)


async def _ask_async(handler: PingHandler) -> _Answer:
    try:
        return read_answer(await handler())
    except asyncio.CancelledError as error:
        if (task := asyncio.current_task()) is not None and task.cancelling():
            raise
        return _raised(error)
    except (Exception, SystemExit, KeyboardInterrupt) as error:  # noqa: BLE001  # as above
        return _raised(error)


def _raised(error: BaseException) -> _Answer:
    return UNHEALTHY, f"The ping handler raised {type(error).__name__}.", {}


def read_answer(answer: Any) -> _Answer:
    """Return status, message and further fields from what a ping handler returned."""
    if answer is None:
        return HEALTHY, None, {}
    if hasattr(answer, "model_dump"):
        answer = answer.model_dump(mode="json")
    extra: dict[str, Any] = {}
    word, message = answer, None
    if isinstance(answer, Mapping):
        extra = {str(key): value for key, value in answer.items()}
        word, message = extra.pop("status", None), extra.pop("message", None)
        if word is None and isinstance(extra.get("healthy"), bool):
            word = extra["healthy"]
    if isinstance(word, Enum):
        word = word.value
    status = _WORDS.get(str(word).strip().lower()) if isinstance(word, str | bool) else None
    if status is None:
        return UNHEALTHY, f"The ping handler returned an unknown status, of type {type(answer).__name__}.", extra
    return status, message if isinstance(message, str | None) else encode(message).decode(), extra


def _encode_ping(extra: dict[str, Any], body: dict[str, Any]) -> bytes:
    """Return the response as JSON, without the agent's own fields if they can't become JSON."""
    extra = {key: value for key, value in extra.items() if key not in body}
    try:
        return encode(body | extra)
    except SerializationError:
        return encode(body)
