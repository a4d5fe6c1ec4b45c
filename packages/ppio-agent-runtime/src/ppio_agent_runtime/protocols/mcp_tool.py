"""The agent as the only tool of an MCP server. A call is one invocation; its text is progress, and then the result.

An interrupt is shown to the user if the client supports that (elicitation), and the answer starts another invocation of
the same session; otherwise the interrupt is the result.
"""

from __future__ import annotations

import re
import uuid
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, cast

from mcp.server.lowlevel import Server
from mcp.server.streamable_http import MCP_SESSION_ID_HEADER, REQUEST_CANCELLED
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
)
from pydantic_core import from_json, to_json

from ppio_agent_models import PayloadValidationError, PPIOAgentRuntimeError

from .._version import __version__
from ..errors import ClientGoneError
from .mcp_input import ToolInput, hang_up_of
from .mcp_progress import Progress
from .mcp_questions import answers_of, ask, can_ask, questions_of, stands_alone
from .writing import LOOPBACK, joined

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from starlette.requests import Request

    from ..context import RequestContext
    from ..events.encoded import EncodedEvent
    from ..plugin_interface import PluginInterface

NAME: Final = "mcp"
_META: Final = "com.ppio.agent/"
"""How our names in `_meta` begin."""
_FOREIGN: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_TRACE_FIELDS: Final = (b"traceparent", b"tracestate", b"baggage")
_RESULT: Final = {
    "type": "object",
    "properties": {"result": {"description": "The agent's result."}, "session_id": {"type": "string"}},
    "required": ["result", "session_id"],
}


def session_manager(app: PluginInterface) -> StreamableHTTPSessionManager:
    """Return the session manager for one lifespan of an app."""
    config, tool = app.config, AgentTool(app)
    server: Server[Any] = Server(
        config.agent_name,
        version=__version__,
        description=config.agent_description,
        on_list_tools=tool.list,
        on_call_tool=tool.call,
    )
    server.middleware.clear()  # it creates spans, but an invocation has one already
    hosts = ("127.0.0.1", "localhost", "[::1]") if config.host in LOOPBACK else ()  # else its host names are unknown
    security = TransportSecuritySettings(
        enable_dns_rebinding_protection=bool(hosts),
        allowed_hosts=[f"{host}{port}" for host in hosts for port in ("", ":*")],
        allowed_origins=[f"http://{host}{port}" for host in hosts for port in ("", ":*")],
    )
    return StreamableHTTPSessionManager(
        server,
        stateless=not config.mcp_sessions,
        security_settings=security,
        max_request_body_size=config.max_request_size,
    )


class AgentTool:
    """The agent of one app."""

    def __init__(self, app: PluginInterface) -> None:
        self._app = app
        self.name: str = _FOREIGN.sub("-", app.config.agent_name)[:64].strip("-") or "agent"

    @cached_property
    def _input(self) -> ToolInput:
        return ToolInput(self._app.payload_schema())

    async def list(self, _: ServerRequestContext, __: PaginatedRequestParams | None) -> ListToolsResult:
        """Return the tool."""
        description = self._app.config.agent_description or f"Asks the agent {self._app.config.agent_name}."
        tool = Tool(name=self.name, description=description, input_schema=self._input.schema, output_schema=_RESULT)
        return ListToolsResult(tools=[tool])

    async def call(
        self, ctx: ServerRequestContext, params: CallToolRequestParams
    ) -> CallToolResult | InputRequiredResult:
        """Call the agent. Its errors are results too, which the caller's model can read.

        Raises:
            MCPError: The tool is unknown, or the caller disconnected.
        """
        if params.name != self.name:
            raise MCPError(INVALID_PARAMS, f"There is no tool {params.name[:80]!r}; there is {self.name!r}.")
        try:
            return await self._call(ctx, params)
        except PPIOAgentRuntimeError as error:
            facts = {f"{_META}error_type": error.error_type, f"{_META}request_id": error.request_id}
            text = TextContent(text=str(error.message))
            return CallToolResult(content=[text], is_error=True, _meta=facts)
        except ClientGoneError:
            raise MCPError(REQUEST_CANCELLED, "The caller disconnected.") from None

    async def _call(
        self, ctx: ServerRequestContext, params: CallToolRequestParams
    ) -> CallToolResult | InputRequiredResult:
        arguments = params.arguments or {}
        context = self._context(ctx, arguments.get("session_id") or params.request_state)
        resume = answers_of(params.input_responses)
        while True:
            run = await self._run(ctx, self._input.payload(arguments, resume), context)
            if not (run.interrupts and self._input.takes_answers and can_ask(ctx)):
                return run.result()
            if stands_alone(ctx):
                return InputRequiredResult(
                    input_requests=questions_of(run.interrupts), request_state=context.session_id
                )
            resume = await ask(ctx, run.interrupts, self._app.config.stream_timeout)
            context = self._context(ctx, context.session_id)

    async def _run(self, ctx: ServerRequestContext, payload: Any, context: RequestContext) -> Run:
        run = Run(context)
        async with (
            await self._app.invoke(payload, context, stream=True, typed=True) as stream,
            Progress(ctx) as progress,
        ):
            async for events in stream.batches(hang_up_of(request_of(ctx).scope)):
                for event in events:
                    run.take(event)
                progress.take(events)
        return run

    def _context(self, ctx: ServerRequestContext, session_id: Any) -> RequestContext:
        """Return a context with the message's trace, if it has one, and a new session ID, if none is named."""
        if session_id is not None and not isinstance(session_id, str):
            raise PayloadValidationError("The argument session_id must be a string.")
        request, meta = request_of(ctx), ctx.meta or {}
        headers = [(name, str(value).encode()) for name in _TRACE_FIELDS if (value := meta.get(name.decode()))]
        if headers:
            headers += [pair for pair in request.scope["headers"] if pair[0] not in _TRACE_FIELDS]
        scope = {**request.scope, "headers": headers or request.scope["headers"]}
        context = self._app.context_for(scope, session_id=session_id, protocol=NAME)
        context.session_id = (
            context.session_id or request.headers.get(MCP_SESSION_ID_HEADER) or f"mcp-{uuid.uuid4().hex}"
        )
        return context


def request_of(ctx: ServerRequestContext) -> Request:
    """Return the HTTP request of a message."""
    return cast("Request", ctx.request)


class Run:
    """Collects the output of one invocation.

    Attributes:
        interrupts: The interrupts that it ended with.
    """

    def __init__(self, context: RequestContext) -> None:
        self._context = context
        self._texts: list[bytes] = []
        self._result: Any = None
        self.interrupts: list[dict[str, Any]] = []

    def take(self, event: EncodedEvent) -> None:
        """Add an event."""
        if event.text is not None:
            self._texts.append(event.text)
        elif event.type == "RUN_FINISHED":
            finished = event.decode()
            self._result = finished.get("result")
            self.interrupts = (finished.get("outcome") or {}).get("interrupts") or []

    def result(self) -> CallToolResult:
        """Return the result of the call: as text for people and models, and as structured content."""
        value = self._value()
        text = value if isinstance(value, str) else to_json(value).decode()
        session_id = self._context.session_id
        facts = {
            f"{_META}session_id": session_id,
            f"{_META}invocation_id": self._context.invocation_id,
            f"{_META}request_id": self._context.request_id,
        }
        return CallToolResult(
            content=[TextContent(text=text)],
            structured_content={"result": value, "session_id": session_id},
            _meta=facts,
        )

    def _value(self) -> Any:
        if self.interrupts:
            return {"interrupts": self.interrupts}
        if self._result is not None or self._texts == [b"null"]:
            return self._result
        if all(text.startswith(b'"') for text in self._texts):
            return joined(self._texts)
        return [from_json(text) for text in self._texts]
