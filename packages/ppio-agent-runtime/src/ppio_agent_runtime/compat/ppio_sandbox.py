"""The app of `ppio_sandbox.agent_runtime` on this runtime, as of ppio-sandbox 2.1.

Its wire format is an older form of ours, so its callers and our client get the same responses;
docs/migrating-ppio-sandbox.md lists the differences.
"""

from __future__ import annotations

import inspect
import json
from contextvars import ContextVar
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from ppio_agent_models import InvocationResponse, PingResponse, PingStatus

from ..app import PPIOAgentRuntimeApp
from ..config import AgentConfig
from ..context import RequestContext as OurContext
from ..context import current_context
from ..plugin_interface import NOTHING, F
from .functions import adapted

__all__ = [
    "AgentRuntimeApp",
    "AgentRuntimeContext",
    "InvocationResponse",
    "PingResponse",
    "PingStatus",
    "RequestContext",
    "RuntimeConfig",
]

T = TypeVar("T")


class RuntimeConfig(BaseModel):
    """The settings of `ppio_sandbox`; `enable_middleware` has no effect. `AgentConfig` has further ones."""

    host: str = "0.0.0.0"
    port: int = 8080
    debug: bool = False
    timeout: int = 300
    max_request_size: int = 1024 * 1024
    cors_origins: list[str] = Field(default_factory=lambda: ["*"])
    enable_metrics: bool = True
    enable_middleware: bool = True


class RequestContext(BaseModel):
    """What an entrypoint with two parameters gets.

    Attributes:
        sandbox_id: `sandbox_id` of the payload, else the session that the caller named.
        request_id: The request ID, which is in the response's metadata too.
        headers: The headers of the request, names in lower case.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="allow")

    sandbox_id: str | None = None
    request_id: str | None = None
    headers: dict[str, str] = Field(default_factory=dict)

    @property
    def session_id(self) -> str | None:
        """The same as `sandbox_id`."""
        return self.sandbox_id


class AgentRuntimeContext:
    """The context of the invocation that the calling code belongs to."""

    _own: ContextVar[RequestContext | None] = ContextVar("ppio_sandbox_context", default=None)

    @classmethod
    def get_current_context(cls) -> RequestContext | None:
        """Return the context, None outside of an invocation."""
        context = current_context.get()
        return cls._own.get() or (None if context is None else _context_of(context))

    @classmethod
    def set_current_context(cls, context: RequestContext) -> None:
        """Set another context for the calling code."""
        cls._own.set(context)

    @classmethod
    def clear_current_context(cls) -> None:
        """Undo `set_current_context`."""
        cls._own.set(None)


class AgentRuntimeApp(PPIOAgentRuntimeApp):
    """An agent as an HTTP service, with the API of `ppio_sandbox.agent_runtime.AgentRuntimeApp`.

    Args:
        config: A `RuntimeConfig`, or an `AgentConfig`.
        debug: The same as `debug` of the config.
    """

    def __init__(self, config: RuntimeConfig | AgentConfig | None = None, debug: bool = False) -> None:
        if isinstance(config, RuntimeConfig):
            config = AgentConfig(**config.model_dump(exclude={"enable_middleware"}, exclude_unset=True))
        super().__init__(config, debug=debug)

    def entrypoint(self, function: T = NOTHING) -> T:
        """Register the agent's function; a second parameter, of any name, takes the context."""
        called: Any = function
        takes_context = len(inspect.signature(called).parameters) >= 2

        def arguments(payload: Any, context: OurContext) -> tuple[Any, ...]:
            return (payload, _context_of(context, payload)) if takes_context else (payload,)

        super().entrypoint(adapted(called, arguments, value=lambda value: value, chunk=_shown))
        return function

    def middleware(self, function: F = NOTHING) -> F:
        """Register `async def mw(request, call_next)`; the first one is the outermost, as in `ppio_sandbox`."""

        async def around(request: Any, call_next: Any) -> Any:
            async def next_one(changed: Any = None) -> Any:
                return await call_next(request if changed is None else changed)

            answer = function(request, next_one)
            return await answer if inspect.isawaitable(answer) else answer

        super().middleware(around)
        self._middleware.insert(0, self._middleware.pop())
        return function


def _context_of(context: OurContext, payload: Any = None) -> RequestContext:
    given = payload.get("sandbox_id") if isinstance(payload, dict) else None
    sandbox_id = given if isinstance(given, str) else context.session_id
    return RequestContext(sandbox_id=sandbox_id, request_id=context.request_id, headers=dict(context.headers))


def _shown(chunk: Any) -> Any:
    """Return a chunk, or its `str` if it cannot become JSON, as `ppio_sandbox` does."""
    if isinstance(chunk, str | Response):
        return chunk
    try:
        json.dumps(chunk)
    except (TypeError, ValueError):
        return str(chunk)
    return chunk
