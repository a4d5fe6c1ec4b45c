"""HTTP/1.1 on one connection, parsed by httptools, with limits on the head of a request: in bytes, fields and time.

A caller who sends a head slowly, an endless one, or nothing at all would otherwise hold memory and a connection for as
long as it likes. What is refused here gets the error envelope, and the connection is closed: after bytes that are not
HTTP nothing on it can be trusted.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import httptools

from ppio_agent_models import BadRequestError, RequestError

from .._problems import problem_of
from .cycle import Cycle, Target
from .flow import FlowControl
from .headers import by_name
from .patience import Patience

if TYPE_CHECKING:
    from .._asgi import ASGIApp, Headers, Scope
    from .exchange import Answerer, Exchange

logger = logging.getLogger("ppio_agent_runtime")

MAX_HEAD_BYTES: Final = 64 * 1024
"""Most bytes of a request's target and header fields, and of its trailers; what other servers take, and then some."""
MAX_HEADER_FIELDS: Final = 256
MAX_DISCARDED_BYTES: Final = 16 * 1024 * 1024
"""Most bytes of a body that are still read once its answer is out, so that the caller gets to see that answer."""

_MOST_UNREAD_BYTES: Final = 64 * 1024
"""Size of the untaken part of a body from which on nothing more is read."""
_INVOCATIONS: Final[Target] = ("/invocations", b"/invocations", b"")
_HOT: Final[dict[bytes, Target]] = {b"/invocations": _INVOCATIONS, b"/ping": ("/ping", b"/ping", b"")}
"""Targets that need no parsing, which is 0.8 us."""
_REASONS: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class AgentHttpProtocol(asyncio.Protocol):
    """One HTTP/1.1 connection.

    Args:
        config: A `uvicorn.Config` or what stands for one; has `app`, `ws_protocol_class` and `timeout_keep_alive`.
        server_state: What the server knows of all connections.
        app_state: What the app's startup gave to all requests.

    Attributes:
        cycle: The request that arrived last.
        in_head: Its head is still arriving.
        in_message: So is some of it.
    """

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any]) -> None:
        self.loop = asyncio.get_running_loop()
        self.server_state = server_state
        self.tasks: set[asyncio.Task[None]] = server_state.tasks
        self.flow: Any = None
        self.transport: Any = None
        self.cycle: Cycle | None = None
        self.in_head = False
        self.in_message = False
        self._config = config
        self._app: ASGIApp = config.app.stack
        self._shortcut: Answerer | None = config.app.shortcut
        self._state = app_state
        self._patience = Patience(self, config.app.config.request_read_timeout_seconds, config.timeout_keep_alive)
        self._parser: Any = httptools.HttpRequestParser(self)
        # A request behind one that closes the connection is not answered, but must not spoil the answer to that one.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self._answering: Cycle | None = None
        self._queue: deque[Cycle] = deque()
        self._own_fields: tuple[object, bytes] = (None, b"")
        self._url = b""
        self._headers: Headers = []
        self._upgrades = False
        self._measure = False
        self._unseen_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock: a head must arrive."""
        self.transport = transport
        self.flow = FlowControl(self.transport)
        self.client = _address(self.transport.get_extra_info("peername"))
        self._server = _address(self.transport.get_extra_info("sockname"))
        self.server_state.connections.add(self)
        self._patience.begin()

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell every request on the connection that its caller is gone."""
        self._patience.end()
        self.server_state.connections.discard(self)
        for cycle in (self._answering, *self._queue):
            if cycle is not None and not cycle.response_complete:
                cycle.disconnected = True
                cycle.set()
        self.flow.resume_writing()
        if exc is None:
            self.transport.close()
        self._parser = None

    def pause_writing(self) -> None:
        """Let answers wait: the caller reads slowly."""
        self.flow.pause_writing()

    def resume_writing(self) -> None:
        """Let them go on."""
        self.flow.resume_writing()

    def shutdown(self) -> None:
        """Close the connection, after its last answer. The server calls it at its end."""
        if not self.is_answering():
            self.transport.close()
        elif self.cycle is not None:
            self.cycle.keep_alive = False

    def data_received(self, data: bytes) -> None:
        """Take what arrived. A request that comes in one read, as most do, is measured in passing."""
        self._patience.idle_since = 0.0
        if self.in_message:
            self._take_more(data)
        else:
            self._measure = len(data) > MAX_HEAD_BYTES
            self._feed(data)
        if self.in_head or not (self.in_message or self.is_answering()):
            self._patience.wait()

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.refuse(_refusal_for(error))
        except httptools.HttpParserUpgrade:  # another protocol than WebSocket is answered in HTTP/1.1
            if self._upgrades:
                self._become_websocket()

    def _take_more(self, data: bytes) -> None:
        """Take more of a request, and count what comes to nothing: the parser only shows fields that are complete."""
        was_in_head, cycle = self.in_head, self.cycle
        self._measure = self._measure or was_in_head
        body = 0 if was_in_head or cycle is None else len(cycle.body)
        self._feed(data)
        if not self.in_message or self.transport.is_closing():
            return
        if was_in_head != self.in_head or (not was_in_head and cycle is not None and len(cycle.body) != body):
            self._unseen_bytes = 0
            return
        self._unseen_bytes += len(data)
        if self._unseen_bytes > (MAX_HEAD_BYTES if self.in_head or self.is_answering() else MAX_DISCARDED_BYTES):
            self.refuse(_head_too_large())

    def on_message_begin(self) -> None:
        """Begin a request."""
        self.in_head = self.in_message = True
        self._unseen_bytes = 0
        self._url = b""
        self._headers = []

    def on_url(self, part: bytes) -> None:
        """Take a part of the target."""
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field, of the trailers too."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Check the head, and begin to answer, or queue up behind the requests before."""
        parser, headers = self._parser, self._headers
        if self._measure or len(headers) > MAX_HEADER_FIELDS:
            self._check_size()
        found = by_name(headers)
        keep_alive = parser.should_keep_alive()
        # Who wants to stay and does not say so speaks 1.1; to ask the parser is 0.25 us.
        version = "1.1" if keep_alive and b"connection" not in found else parser.get_http_version()
        if b"host" not in found or len(found) < len(headers):
            self._check_host(version)
        upgrades = parser.should_upgrade()
        self._upgrades = upgrades and self._config.ws_protocol_class is not None and _wants_websocket(found)
        self.in_head = False
        self._patience.waiting_since = 0.0
        if self._upgrades:
            return
        target = _HOT.get(self._url) or _parsed(self._url)
        cycle = Cycle(self, parser.get_method().decode(), target, version, headers, found)
        # After an upgrade that we do not take part in, the parser understands nothing more.
        cycle.keep_alive = keep_alive and version != "1.0" and not upgrades
        self._headers = []  # trailers are measured, and shown to nobody (RFC 9110, section 6.5.1)
        self.cycle = cycle
        if self.is_answering():
            self.flow.pause_reading()
            self._queue.append(cycle)
        else:
            self._start(cycle)

    def on_body(self, part: bytes) -> None:
        """Hand a part of the body on."""
        cycle = self.cycle
        if self._upgrades or cycle is None or cycle.response_complete:
            return
        cycle.add_body(part)
        if len(cycle.body) > _MOST_UNREAD_BYTES:
            self.flow.pause_reading()

    def on_message_complete(self) -> None:
        """Note that the body is complete, and the trailers with it."""
        if self._measure or len(self._headers) > MAX_HEADER_FIELDS:
            self._check_size()
        self.in_message = False
        cycle = self.cycle
        if self._upgrades or cycle is None:
            return
        if not cycle.response_complete:
            cycle.more_body = False
            cycle.set()
        elif not cycle.keep_alive:  # closed any earlier, with bytes unread, the caller would not see its answer
            self.transport.close()

    def on_response_complete(self) -> None:
        """Begin with the request behind this one, or note since when the connection is idle."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self._queue:
            self._start(self._queue.popleft())
        else:
            self._patience.idle_since = self.loop.time()

    def own_fields(self) -> bytes:
        """Return the header lines that every answer has; their list is made anew once a second, for the date."""
        pairs, lines = self._own_fields
        if pairs is not self.server_state.default_headers:
            pairs = self.server_state.default_headers
            lines = b"".join([b"%b: %b\r\n" % pair for pair in self.server_state.default_headers])
            self._own_fields = (pairs, lines)
        return lines

    def scope_of(self, cycle: Cycle) -> Scope:
        """Return what ASGI says of a request."""
        path, raw_path, query = cycle.target
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": cycle.http_version,
            "server": self._server,
            "client": self.client,
            "scheme": "https" if self.transport.get_extra_info("sslcontext") else "http",
            "root_path": "",
            "headers": cycle.headers,
            "state": self._state.copy(),
            "method": cycle.method,
            "path": path,
            "raw_path": raw_path,
            "query_string": query,
        }

    def is_answering(self) -> bool:
        """Say whether a request of this connection has no complete answer yet."""
        return self._answering is not None and not self._answering.response_complete

    def refuse(self, refusal: RequestError) -> None:
        """Refuse what arrived, and close."""
        cycle = self.cycle
        is_answering = cycle is not None and not cycle.response_complete
        is_answered = self.in_message and not self.in_head and not is_answering
        in_answer = is_answering and cycle is not None and (cycle.response_started or not cycle.more_body)
        if is_answered or in_answer or self._queue:
            # Bytes in the middle of another answer would be taken for a part of it, or for the next one.
            self.transport.abort()
            return
        request_id = os.urandom(16).hex()
        problem = problem_of(refusal, request_id=request_id, tells_errors=False)
        body = problem.envelope(request_id, None)
        self.transport.write(
            b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
            b"x-ppio-request-id: %b\r\nconnection: close\r\n\r\n%b"
            % (problem.status, _REASONS[problem.status], len(body), request_id.encode(), body)
        )
        self.transport.close()

    def _start(self, cycle: Cycle) -> None:
        self._answering = cycle
        is_invocation = cycle.target is _INVOCATIONS and cycle.method == "POST" and b"origin" not in cycle.found
        answer = self._shortcut if is_invocation else None
        cycle.task = self.loop.create_task(cycle.run(answer or self._by_asgi))
        self.tasks.add(cycle.task)  # until `run` ends

    def _by_asgi(self, exchange: Exchange) -> Awaitable[None]:
        return self._app(exchange.scope, exchange.receive, exchange.send)

    def _check_size(self) -> None:
        """Refuse a head that is too large. Asked where so much arrived that it could be."""
        size = len(self._url) + sum(len(name) + len(value) for name, value in self._headers)
        if size > MAX_HEAD_BYTES or len(self._headers) > MAX_HEADER_FIELDS:
            raise _head_too_large()

    def _check_host(self, version: str) -> None:
        hosts = [name for name, _ in self._headers].count(b"host")
        if hosts != 1 and (hosts or version != "1.0"):
            raise BadRequestError("A request has exactly one Host header (RFC 9112, section 3.2).")

    def _become_websocket(self) -> None:
        """Hand the connection over, and stop the clock: from here on it is no matter of requests."""
        self._patience.end()
        self.server_state.connections.discard(self)
        lines = [b"%b: %b\r\n" % field for field in self._headers]
        head = b"%b %b HTTP/1.1\r\n%b\r\n" % (self._parser.get_method(), self._url, b"".join(lines))
        protocol = self._config.ws_protocol_class(
            config=self._config, server_state=self.server_state, app_state=self._state
        )
        protocol.connection_made(self.transport)
        protocol.data_received(head)
        self.transport.set_protocol(protocol)


def _refusal_for(error: httptools.HttpParserError) -> RequestError:
    """Return what the caller is told; what one of our callbacks raised is in the error's context."""
    raised = error.__context__
    if isinstance(raised, RequestError):
        return raised
    if raised is not None and not isinstance(raised, httptools.HttpParserError):
        logger.error("The parser of requests failed.", exc_info=raised)
    return BadRequestError("The request is not valid HTTP.")


def _head_too_large() -> BadRequestError:
    return BadRequestError(
        f"The head of the request is larger than {MAX_HEAD_BYTES} bytes or has more than {MAX_HEADER_FIELDS} fields.",
        status_code=431,
    )


def _address(found: Any) -> tuple[str, int] | None:
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) else None  # that of a Unix socket is a string


def _wants_websocket(found: dict[bytes, bytes]) -> bool:
    tokens = [token.strip() for token in found.get(b"connection", b"").lower().split(b",")]
    return b"upgrade" in tokens and found.get(b"upgrade", b"").lower() == b"websocket"


def _parsed(url: bytes) -> Target:
    target = httptools.parse_url(url)
    path = target.path.decode("ascii")
    return unquote(path) if "%" in path else path, target.path, target.query or b""
