"""`GET /ping`: touches no handler, no pool and no lock. An agent's own ping handler runs aside, against the clock."""

from __future__ import annotations

import asyncio
import inspect
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from pydantic_core import to_json

from ._handler import code_of

if TYPE_CHECKING:
    from ._isolation import SecondLoop
    from ._workers import WorkerThreads

HEALTHY, BUSY, UNHEALTHY = "Healthy", "HealthyBusy", "Unhealthy"

_WORDS = {
    **dict.fromkeys(("healthy", "ok", "up", "true"), HEALTHY),
    **dict.fromkeys(("healthybusy", "busy", "working"), BUSY),
    **dict.fromkeys(("unhealthy", "down", "error", "false"), UNHEALTHY),
}

PingHandler = Callable[[], Any]


class Health:
    """How the service is: busy while work is in flight, unhealthy while draining or when its own ping handler says so.

    Attributes:
        draining: The service is shutting down.
        details: Each returns further fields of the answer.
        further_work: Each says whether there is work in flight that is no invocation.
    """

    def __init__(self, workers: WorkerThreads, ping_timeout_seconds: float, loop: SecondLoop | None) -> None:
        self.draining = False
        self.details: list[Callable[[], dict[str, Any]]] = []
        self.further_work: list[Callable[[], bool]] = []
        self._second_loop = loop
        self._workers = workers
        self._timeout_seconds = ping_timeout_seconds
        self._handler: PingHandler | None = None
        self._check: asyncio.Future[Any] | None = None
        self._running = False
        self._own_word = HEALTHY
        self._status = HEALTHY
        self._changed_at = int(time.time())

    def use(self, handler: PingHandler) -> None:
        """Ask `handler` on every ping from now on."""
        self._handler = handler

    def work_began(self) -> None:
        """Note that something is in flight now."""
        self._running = True
        self._note(self._combined())

    def work_ended(self) -> None:
        """Note that nothing is in flight any more."""
        self._running = False
        self._note(self._combined())

    async def ping(self) -> tuple[int, bytes]:
        """Return HTTP status and JSON body of the answer."""
        message: str | None = None
        extra: dict[str, Any] = {}
        if self.draining:
            message = "draining"
        elif self._handler is not None:
            self._own_word, message, extra = await self._ask(self._handler)
        status = UNHEALTHY if self.draining else self._combined()
        self._note(status)
        body = {
            "status": status,
            "message": message,
            "time_of_last_update": self._changed_at,
            "timestamp": datetime.now(UTC).isoformat(),
        }
        for detail in self.details:
            body |= detail()
        return 503 if status == UNHEALTHY else 200, _encode_ping(extra, body)

    def _combined(self) -> str:
        if self._own_word != HEALTHY:
            return self._own_word
        # A thread may still work for a caller who gave up: that is work in flight too.
        if self._running or self._workers.unfinished or any(holds() for holds in self.further_work):
            return BUSY
        return HEALTHY

    def _note(self, status: str) -> None:
        if status != self._status:
            self._status = status
            self._changed_at = int(time.time())

    async def _ask(self, handler: PingHandler) -> tuple[str, str | None, dict[str, Any]]:
        """Return the handler's word, message and further fields. Pings that arrive meanwhile share one call."""
        if self._check is None:
            self._check = self._start(handler)
            self._check.add_done_callback(self._checked)
        check = self._check
        try:
            answer = await asyncio.wait_for(asyncio.shield(check), self._timeout_seconds)
        except TimeoutError:
            if check.done():
                return UNHEALTHY, "The ping handler raised TimeoutError.", {}
            return UNHEALTHY, f"The ping handler did not answer within {self._timeout_seconds:g} s.", {}
        except Exception as error:  # noqa: BLE001  # whatever it is, the ping must be answered
            return UNHEALTHY, f"The ping handler raised {type(error).__name__}.", {}
        return read_answer(answer)

    def _start(self, handler: PingHandler) -> asyncio.Future[Any]:
        """Call the handler: on the agent's loop when it is async, else in a thread of its own."""
        if not inspect.iscoroutinefunction(code_of(handler)):
            return _in_new_thread(handler)
        return asyncio.ensure_future(handler() if self._second_loop is None else self._second_loop.run(handler()))

    def _checked(self, check: asyncio.Future[Any]) -> None:
        self._check = None
        if not check.cancelled():
            check.exception()  # seen here: the ping that started it may have given up


def read_answer(answer: Any) -> tuple[str, str | None, dict[str, Any]]:
    """Return status word, message and further fields of whatever a ping handler returned."""
    if answer is None:
        return HEALTHY, None, {}
    if hasattr(answer, "model_dump"):
        answer = answer.model_dump(mode="json")
    extra: dict[str, Any] = {}
    message = None
    word = answer
    if isinstance(answer, Mapping):
        extra = {str(key): value for key, value in answer.items()}
        word = extra.pop("status", None)
        message = extra.pop("message", None)
        if word is None and isinstance(extra.get("healthy"), bool):
            word = extra["healthy"]
    status = _WORDS.get(str(word).strip().lower()) if isinstance(word, str | bool) else None
    if status is None:
        return UNHEALTHY, f"The ping handler answered something unknown, of type {type(answer).__name__}.", extra
    return status, None if message is None else str(message), extra


def _in_new_thread(handler: PingHandler) -> asyncio.Future[Any]:
    """Call the handler away from the agent's threads, which may all be taken."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def settle(result: Any, error: BaseException | None) -> None:
        if not future.done():
            future.set_result(result) if error is None else future.set_exception(_as_exception(error))

    def call() -> None:
        result = error = None
        try:
            result = handler()
        except BaseException as caught:  # noqa: BLE001  # handed to the ping that asked
            error = caught
        loop.call_soon_threadsafe(settle, result, error)

    threading.Thread(target=call, name="agent-ping", daemon=True).start()
    return future


def _as_exception(error: BaseException) -> Exception:
    return error if isinstance(error, Exception) else RuntimeError(type(error).__name__)


def _encode_ping(extra: dict[str, Any], body: dict[str, Any]) -> bytes:
    extra = {key: value for key, value in extra.items() if key not in body}
    return to_json(body | extra, inf_nan_mode="null", bytes_mode="base64", fallback=lambda value: type(value).__name__)
