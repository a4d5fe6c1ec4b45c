"""Relays the console page's requests to one agent, and adds the key, which the browser never sees.

Any client that can send it requests can use the agent with that key. Other web pages are untrusted: they can send
requests to 127.0.0.1 (with an `Origin`), make a name of theirs resolve to it (DNS rebinding: the `Host` is theirs), and
link to it. Responses of the agent are untrusted, too.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import urlsplit

import httpx

from ppio_agent_models import PPIOAgentRuntimeError

if TYPE_CHECKING:
    from ppio_agent_client import SyncSandboxSession

_T = TypeVar("_T")
_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

OWN_HEADER: Final = "x-ppio-console"
"""Other pages cannot send it without a CORS preflight, which is refused."""
MAX_BODY_BYTES: Final = 64 * 1024 * 1024
_CONNECT_SECONDS: Final = 10.0
_GETS: Final = re.compile(
    r"/(ping|metrics|openapi\.json|console/(settings|runs|spans|log)|invocations/[\w-]{1,128}(/events)?)", re.ASCII
)
_DELETES: Final = re.compile(r"/invocations/[\w-]{1,128}", re.ASCII)
_PATHS: Final = {"GET": _GETS, "POST": re.compile("/invocations"), "DELETE": _DELETES}
_SENT: Final = re.compile(
    r"accept|content-type|idempotency-key|last-event-id|prefer|ppio-agent-(protocol|events|instance)|traceparent"
    r"|x-ppio-(session-id|request-id|user-id|timeout|on-disconnect)"
)
"""Request headers that are forwarded: no cookies, and no key from the browser."""
_GIVEN: Final = re.compile(
    r"content-(type|encoding)|cache-control|retry-after|x-accel-buffering|ppio-agent-[a-z]+|x-ppio-[a-z-]+"
    r"|ratelimit(-policy)?|idempotency-replayed|preference-applied"
)
"""Response headers that are forwarded: none that sets cookies, opens a login dialog or changes CORS access."""
_SAFE: Final = [
    (b"content-security-policy", b"default-src 'none'; sandbox; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
]


class RefusedError(Exception):
    """A request is not relayed; has the status and error type of the response."""

    def __init__(self, status: int, error_type: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.error_type = error_type


class BrowserLeftError(Exception):
    """The browser disconnected, so the agent's response is no longer needed."""


class Relay:
    """The ASGI app behind the page.

    Args:
        session: The agent's session.
        port: The port on 127.0.0.1 that it listens on.
        target: The agent's URL for callers with a key, which the page shows; empty for a sandbox.
    """

    def __init__(self, session: SyncSandboxSession, port: int, target: str = "") -> None:
        self._session = session
        hosts = [f"{name}:{port}" for name in ("127.0.0.1", "localhost")] + (["127.0.0.1"] if port == 80 else [])
        self._hosts = frozenset(hosts)
        self._told = (b"ppio-console-target", target.encode("ascii", "replace"))
        self._client: httpx.AsyncClient | None = None

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Relay one request."""
        head: dict[str, str] = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        try:
            self._check(scope["method"], scope["path"], head)
            body = await _body(receive)
            leaving = asyncio.ensure_future(_disconnected(receive))
            try:
                async with self._asked(scope, head, body, leaving) as answer:
                    await _pass_on(answer, leaving, send, [*_SAFE, self._told])
            finally:
                leaving.cancel()
        except RefusedError as error:
            await _refuse(send, error)
        except PPIOAgentRuntimeError as error:  # The credential could not be obtained.
            await _refuse(send, RefusedError(502, error.error_type, error.message))
        except BrowserLeftError:
            return

    def guard(self, app: Callable[[_Scope, _Receive, _Send], Awaitable[None]]) -> Any:
        """Return an ASGI app that passes only requests of the console's own page to `app`, files included."""

        async def guarded(scope: _Scope, receive: _Receive, send: _Send) -> None:
            if scope["type"] != "http":
                return None
            try:
                self._check_sender(scope["headers"])
            except RefusedError as error:
                return await _refuse(send, error)
            await app(scope, receive, send)

        return guarded

    async def close(self) -> None:
        """Close the connections to the agent."""
        if self._client is not None:
            await self._client.aclose()

    def _check_sender(self, headers: list[tuple[bytes, bytes]]) -> None:
        """Refuse a request with another host or origin; repeated headers are all checked.

        Raises:
            RefusedError: It has another one, or no `Host`.
        """
        hosts = [value.decode("latin-1").lower() for name, value in headers if name == b"host"]
        if not hosts or any(host not in self._hosts for host in hosts):
            raise RefusedError(403, "ForeignHostError", "The console answers to 127.0.0.1 and localhost alone.")
        for name, value in headers:
            if name == b"origin" and value.decode("latin-1").lower().removeprefix("http://") not in self._hosts:
                raise RefusedError(403, "ForeignOriginError", "Other web pages may not use the console.")

    def _check(self, method: str, path: str, head: dict[str, str]) -> None:
        """Refuse a request that the page doesn't send.

        Raises:
            RefusedError: The method or path is not relayed, or a header is missing that only the page can send.
        """
        allowed = _PATHS.get(method)
        if allowed is None or not allowed.fullmatch(path):
            raise RefusedError(404, "NotFoundError", f"The console does not relay {method[:20]} {path[:200]}.")
        if head.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            raise RefusedError(403, "ForeignOriginError", "Other web pages may not use the console.")
        if method != "GET" and OWN_HEADER not in head:
            raise RefusedError(403, "ForeignOriginError", f"The console wants the header {OWN_HEADER} on {method}.")
        if method == "POST" and head.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            raise RefusedError(415, "UnsupportedMediaTypeError", "The console takes application/json.")

    @asynccontextmanager
    async def _asked(
        self, scope: _Scope, head: dict[str, str], body: bytes, leaving: asyncio.Future[None]
    ) -> AsyncIterator[httpx.Response]:
        """Send the request to the agent, and yield the response.

        Raises:
            RefusedError: It cannot be reached, or its response is a redirect.
        """
        session, method = self._session, scope["method"]
        query = scope["query_string"].decode("latin-1")
        path = f"{scope['path']}?{query}" if query else scope["path"]
        passed = {name: value for name, value in head.items() if _SENT.fullmatch(name)}
        passed["accept-encoding"] = "identity"
        headers = await asyncio.to_thread(session.request_headers, method, path, passed, body)
        if self._client is None:
            is_here = urlsplit(session.host_url).hostname in ("127.0.0.1", "localhost", "::1")
            timeout = httpx.Timeout(None, connect=_CONNECT_SECONDS)
            self._client = httpx.AsyncClient(timeout=timeout, follow_redirects=False, trust_env=not is_here)
        try:
            request = self._client.build_request(method, f"{session.host_url}{path}", headers=headers, content=body)
            answer = await _unless_left(self._client.send(request, stream=True), leaving)
        except httpx.HTTPError as error:
            message = f"The agent at {session.host_url} cannot be reached ({type(error).__name__}: {error})."
            raise RefusedError(502, "NetworkError", message) from error
        try:
            if answer.is_redirect or 300 <= answer.status_code < 400:
                where = answer.headers.get("location", "nowhere")[:200]
                message = f"The agent answered with a redirect to {where}; it is not followed."
                raise RefusedError(502, "RedirectError", message)
            yield answer
        finally:
            await answer.aclose()


async def _body(receive: _Receive) -> bytes:
    """Return the whole body.

    Raises:
        RefusedError: It is too large or incomplete.
    """
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RefusedError(400, "BadRequestError", "The request was cut.")
        body += message.get("body", b"")
        if len(body) > MAX_BODY_BYTES:
            raise RefusedError(413, "PayloadTooLargeError", f"The console relays at most {MAX_BODY_BYTES} bytes.")
        if not message.get("more_body"):
            return bytes(body)


async def _pass_on(
    answer: httpx.Response, leaving: asyncio.Future[None], send: _Send, more_headers: list[tuple[bytes, bytes]]
) -> None:
    """Relay the agent's response as it arrives.

    Raises:
        BrowserLeftError: The browser disconnected.
        httpx.HTTPError: It was cut off. Propagates out of the app, so that the browser's connection is cut off, too.
    """
    headers = [(name.lower(), value) for name, value in answer.headers.raw if _is_given(name)]
    await send({"type": "http.response.start", "status": answer.status_code, "headers": [*headers, *more_headers]})
    parts = answer.aiter_raw()
    while (part := await _unless_left(anext(parts, None), leaving)) is not None:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


def _is_given(name: bytes) -> bool:
    return _GIVEN.fullmatch(name.decode("latin-1").lower()) is not None


async def _unless_left(wanted: Awaitable[_T], leaving: asyncio.Future[None]) -> _T:
    """Return the result of `wanted`, unless the browser disconnects first.

    Raises:
        BrowserLeftError: It did; `wanted` is cancelled.
    """
    waiting = asyncio.ensure_future(wanted)
    either: set[asyncio.Future[Any]] = {waiting, leaving}
    await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
    if waiting.done():
        return waiting.result()
    waiting.cancel()
    await asyncio.wait({waiting})
    raise BrowserLeftError


async def _disconnected(receive: _Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _refuse(send: _Send, error: RefusedError) -> None:
    """Send an error in the envelope that agents of this SDK use."""
    envelope: dict[str, Any] = {"result": None, "status": "error", "duration": 0.0, "metadata": {}, "error": str(error)}
    body = json.dumps(envelope | {"error_type": error.error_type}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *_SAFE]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
