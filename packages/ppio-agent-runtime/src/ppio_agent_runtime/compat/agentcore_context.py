"""What an AgentCore agent can read about its caller, from the headers of the current invocation."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any, ClassVar, Final

from pydantic import BaseModel, ConfigDict

from ..context import RequestContext as OurContext
from ..context import current_context

SESSION_HEADER: Final = "x-amzn-bedrock-agentcore-runtime-session-id"
REQUEST_ID_HEADER: Final = "x-amzn-bedrock-agentcore-runtime-request-id"
_TOKEN_HEADERS: Final = ("x-amz-bedrock-agentcore-identity-wat", "workloadaccesstoken")
_CALLBACK_HEADER: Final = "oauth2callbackurl"
_OWN_PREFIX: Final = "x-amzn-bedrock-agentcore-runtime-custom-"

# Headers that AgentCore never passes to an agent:
# https://docs.aws.amazon.com/bedrock-agentcore/latest/devguide/runtime-header-allowlist.html
_HIDDEN_PREFIXES: Final = (
    *("accept", "access-control-", "cache-control", "cf-", "content-", "cross-origin-", "if-", "permissions-"),
    *("proxy-", "public-key-pins", "referr", "sec-", "viewport-"),
    *("x-amz-", "x-amzn-", "x-cluster-", "x-forwarded-", "x-origin", "x-rewrite-"),
)
_HIDDEN: Final = frozenset(
    {
        *("dpr", "downlink", "ect", "rtt", "width"),
        *("clear-site-data", "connection", "cookie", "date", "etag", "expect-ct", "expires", "feature-policy"),
        *("forwarded", "from", "host", "keep-alive", "last-modified", "link", "location", "origin", "pragma", "range"),
        *("referer", "retry-after", "save-data", "server", "set-cookie", "strict-transport-security", "te", "trailer"),
        *("transfer-encoding", "true-client-ip", "upgrade", "user-agent", "vary", "via", "www-authenticate"),
        *("x-cache", "x-client-ip", "x-content-type-options", "x-csrf-token", "x-frame-options", "x-real-ip"),
        *("x-requested-with", "x-served-by", "x-source-ip", "x-xss-protection"),
    }
)

request_of_call: ContextVar[Any] = ContextVar("agentcore_request", default=None)
"""The Starlette request of a call in AgentCore's own wire format."""


class RequestContext(BaseModel):
    """What an entrypoint with a second parameter `context` gets.

    Attributes:
        session_id: `X-Amzn-Bedrock-AgentCore-Runtime-Session-Id`, else the session of our own protocol.
        request_headers: `Authorization`, and the headers that AgentCore passes on; None if there are none.
        request: Starlette's request or WebSocket, None for callers of other protocols.
    """

    model_config: ClassVar[ConfigDict] = ConfigDict(arbitrary_types_allowed=True)

    session_id: str | None = None
    request_headers: dict[str, str] | None = None
    request: Any = None


class _Value:
    """A value that code may set for the current invocation; otherwise it comes from the invocation's headers."""

    def __init__(self, name: str) -> None:
        self._set: ContextVar[Any] = ContextVar(name, default=None)

    def set(self, value: Any) -> None:
        self._set.set((current_context.get(), value))

    def get(self, context: OurContext | None, default: Any) -> Any:
        """Return what was set in this invocation, else `default`."""
        found = self._set.get()
        return found[1] if found is not None and found[0] is context else default


_TOKEN, _CALLBACK, _IDS, _HEADERS = (
    _Value(f"agentcore_{name}") for name in ("workload_access_token", "oauth2_callback_url", "ids", "request_headers")
)


class BedrockAgentCoreContext:
    """The invocation that the calling code belongs to; each method returns None outside of one."""

    @classmethod
    def get_request_id(cls) -> str | None:
        """Return `X-Amzn-Bedrock-AgentCore-Runtime-Request-Id`, else the request ID that the runtime generated."""
        return cls._ids()[0]

    @classmethod
    def get_session_id(cls) -> str | None:
        """Return the session, as `RequestContext.session_id`."""
        return cls._ids()[1]

    @classmethod
    def set_request_context(cls, request_id: str, session_id: str | None = None) -> None:
        """Set both ids for the rest of the invocation."""
        _IDS.set((request_id, session_id))

    @classmethod
    def get_request_headers(cls) -> dict[str, str] | None:
        """Return the headers, as `RequestContext.request_headers`."""
        context = current_context.get()
        headers: dict[str, str] | None = _HEADERS.get(context, headers_of(context))
        return headers

    @classmethod
    def set_request_headers(cls, headers: dict[str, str]) -> None:
        """Set the headers for the rest of the invocation."""
        _HEADERS.set(headers)

    @classmethod
    def get_workload_access_token(cls) -> str | None:
        """Return the token of the agent's identity at AWS, from the header."""
        return cls._header(_TOKEN, *_TOKEN_HEADERS)

    @classmethod
    def set_workload_access_token(cls, token: str) -> None:
        """Set the token for the rest of the invocation."""
        _TOKEN.set(token)

    @classmethod
    def get_oauth2_callback_url(cls) -> str | None:
        """Return `OAuth2CallbackUrl`."""
        return cls._header(_CALLBACK, _CALLBACK_HEADER)

    @classmethod
    def set_oauth2_callback_url(cls, workload_callback_url: str) -> None:
        """Set it for the rest of the invocation."""
        _CALLBACK.set(workload_callback_url)

    @classmethod
    def _ids(cls) -> tuple[str | None, str | None]:
        context = current_context.get()
        ids: tuple[str | None, str | None] = _IDS.get(
            context, (None, None) if context is None else (context.request_id, session_of(context))
        )
        return ids

    @classmethod
    def _header(cls, value: _Value, *names: str) -> str | None:
        context = current_context.get()
        headers = {} if context is None else context.headers
        found: str | None = value.get(context, next((headers[name] for name in names if headers.get(name)), None))
        return found


def session_of(context: OurContext) -> str | None:
    """Return the session ID as an AgentCore agent sees it."""
    return context.headers.get(SESSION_HEADER) or context.session_id


def headers_of(context: OurContext | None) -> dict[str, str] | None:
    """Return the headers that an AgentCore agent sees, or None if there are none."""
    given = {} if context is None else context.headers
    shown = {name: value for name, value in given.items() if _is_shown(name)}
    if "authorization" in given:
        shown["Authorization"] = given["authorization"]
    return shown or None


def _is_shown(name: str) -> bool:
    if name.startswith(_OWN_PREFIX) or name == _TOKEN_HEADERS[0]:
        return True
    return name != "authorization" and name not in _HIDDEN and not name.startswith(_HIDDEN_PREFIXES)
