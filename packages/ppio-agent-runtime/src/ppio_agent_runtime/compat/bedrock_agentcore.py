"""`bedrock_agentcore`'s app on this runtime, as of version 1.25.

It behaves the same for an agent's code and its callers; docs/migrating-agentcore.md lists the differences.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar

from starlette.middleware import Middleware
from starlette.responses import Response

from ppio_agent_models import PingStatus, SerializationError

from ..app import PPIOAgentRuntimeApp
from ..config import AgentConfig
from ..context import RequestContext as OurContext
from ..handler import code_of
from ..invocations.background import BusyBlock
from ..lifespan import LifespanFunction
from ..plugin_interface import NOTHING, F
from ..serialization import encode
from .agentcore_context import (
    BedrockAgentCoreContext,
    RequestContext,
    headers_of,
    request_of_call,
    session_of,
)
from .agentcore_wire import PATH, AgentCoreCallers, answer
from .functions import adapted

__all__ = ["BedrockAgentCoreApp", "BedrockAgentCoreContext", "PingStatus", "RequestContext"]

T = TypeVar("T")
_DEFAULTS: Final = {"isolate_handlers": True, "timeout": 900.0}
"""AgentCore's defaults, used unless these settings are given: async handlers may block, a result has 15 minutes."""


class BedrockAgentCoreApp(PPIOAgentRuntimeApp):
    """An agent as an HTTP service, with the API of `bedrock_agentcore.BedrockAgentCoreApp`.

    Args:
        debug: Accept `_agent_core_app_action` in payloads, and set `AgentConfig(debug=True)`.
        lifespan: An async context manager function that takes this app.
        middleware: Starlette's, the first one outermost.
        config: Settings; without it they come from the environment and the defaults.

    Attributes:
        debug: As given.
        logger: For the agent's own lines.
    """

    def __init__(
        self,
        debug: bool = False,
        lifespan: LifespanFunction | None = None,
        middleware: Sequence[Middleware] | None = None,
        *,
        config: AgentConfig | None = None,
    ) -> None:
        config = config or AgentConfig()
        sources = config.explain()
        config = config.replace(**{name: value for name, value in _DEFAULTS.items() if sources[name][1] == "default"})
        super().__init__(config, debug=debug, lifespan=lifespan)
        self.debug: bool = self.config.debug
        self.logger: logging.Logger = logging.getLogger("bedrock_agentcore.app")
        self._forced: PingStatus | None = None
        self._own_ping: Callable[[], Any] | None = None
        self._tasks: dict[int, BusyBlock] = {}
        self._task_ids = itertools.count(1)
        self.add_route(PATH, functools.partial(answer, self))
        self.add_middleware(AgentCoreCallers)
        for each in reversed(middleware or ()):
            self._wrap(lambda inner, each=each: each.cls(inner, *each.args, **each.kwargs))  # type: ignore[misc]

    def entrypoint(self, function: T = NOTHING) -> T:
        """Register the agent's function; a second parameter named `context` takes the context."""
        called: Any = function
        takes_context = list(inspect.signature(called).parameters)[1:2] == ["context"]

        def arguments(payload: Any, context: OurContext) -> tuple[Any, ...]:
            return (payload, _context_of(context)) if takes_context else (payload,)

        super().entrypoint(adapted(called, arguments, value=_shown, chunk=_shown))
        with contextlib.suppress(AttributeError):  # a method has no attributes of its own
            function.run = lambda port=None, host=None: self.run(port, host)  # type: ignore[attr-defined]
        return function

    def websocket(self, function: F = NOTHING) -> F:
        """Register `async def handler(websocket, context)` for `/ws`."""

        async def handler(websocket: Any, context: OurContext) -> None:
            await function(websocket, _context_of(context, websocket))

        handler.__qualname__ = code_of(function).__qualname__
        super().websocket(handler)
        return function

    def ping(self, function: F = NOTHING) -> F:
        """Register the agent's own health check, whose status is used even while there is work.

        If it raises, it is ignored. It can be an `async def`, unlike in AgentCore.
        """
        self._own_ping = function
        super().ping(self._ask)
        return function

    async def _ask(self) -> str:
        """Return the status for a ping: the forced one, else that of the agent's check, else Healthy."""
        health = self._services.health
        status: Any = self._forced
        if status is None and self._own_ping is not None:
            status = self._asked()
            if inspect.isawaitable(status):
                status = await status
        health.is_exact = status is not None
        return PingStatus.HEALTHY if status is None else PingStatus(status)

    def _asked(self) -> Any:
        assert self._own_ping is not None
        try:
            return self._own_ping()
        except Exception as error:  # noqa: BLE001  # as in AgentCore
            self.logger.warning("The ping handler failed and is ignored: %s", type(error).__name__)
            return None

    def get_current_ping_status(self) -> PingStatus:
        """Return the status of `/ping`: the forced one, that of the agent's check, or whether tasks run."""
        status: Any = self._forced
        if status is None and self._own_ping is not None and not inspect.iscoroutinefunction(self._own_ping):
            status = self._asked()
        if status is None:
            return PingStatus.HEALTHY_BUSY if self._services.background.keeps_busy() else PingStatus.HEALTHY
        return PingStatus(status)

    def force_ping_status(self, status: PingStatus | str) -> None:
        """Report this status from now on, whatever the agent does."""
        self._forced = PingStatus(status)
        super().ping(self._ask)

    def clear_forced_ping_status(self) -> None:
        """Report the real status again."""
        self._forced = None

    def add_async_task(self, name: str, metadata: dict[str, Any] | None = None) -> int:
        """Count a piece of background work, which keeps the service HealthyBusy; in any thread.

        Args:
            name: For `/ping`.
            metadata: Not used.

        Returns:
            Its ID, for `complete_async_task`.
        """
        task_id = next(self._task_ids)
        self._tasks[task_id] = self.busy(name).begin()
        return task_id

    def complete_async_task(self, task_id: int) -> bool:
        """Stop counting it; False if there is none with this ID."""
        block = self._tasks.pop(task_id, None)
        if block is None:
            self.logger.warning("There is no async task %s.", task_id)
            return False
        block.end()
        return True

    def async_task(self, function: F) -> F:
        """Count an `async def` while it runs.

        Raises:
            ValueError: It is not an `async def`.
        """
        if not inspect.iscoroutinefunction(code_of(function)):
            raise ValueError("@async_task can only be applied to async functions")
        counted: Any = self.background_task(function)
        return counted  # type: ignore[no-any-return]

    def get_async_task_info(self) -> dict[str, Any]:
        """Return `active_count`, and `running_jobs` with `name` and `duration` in seconds."""
        work = self._services.background.report().get("background", [])
        jobs = [{"name": each["name"], "duration": each["age_seconds"]} for each in work]
        return {"active_count": len(jobs), "running_jobs": jobs}


def _context_of(context: OurContext, request: Any = None) -> RequestContext:
    request = request or request_of_call.get()
    return RequestContext(session_id=session_of(context), request_headers=headers_of(context), request=request)


def _shown(value: Any) -> Any:
    """Return a value, or its `str` if it cannot become JSON, as AgentCore does."""
    if isinstance(value, str | Response):
        return value
    try:
        encode(value)
    except SerializationError:
        return str(value)
    return value
