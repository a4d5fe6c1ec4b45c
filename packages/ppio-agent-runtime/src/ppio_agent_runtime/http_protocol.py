"""uvicorn's HTTP/1.1 protocol with a bounded request head, errors in our envelope, and support for ignored upgrades.

uvicorn itself has no limits for the time and size of a request head, responds to invalid requests in plain text, loses
the body of a request with `Upgrade: h2c` (because httptools stops there), has no limit for a caller that reads nothing,
and sends chunked responses to HTTP/1.0.
"""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING, Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from ppio_agent_models import BadRequestError, RequestError, RequestReadTimeoutError

from .asgi import UNACKNOWLEDGED
from .errors import error_response
from .observability.logging import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from uvicorn import Config
    from uvicorn.server import ServerState

MAX_HEAD_BYTES: Final = 64 * 1024
"""Largest request target and header fields together, in bytes; more than other servers accept."""
MAX_HEADER_FIELDS: Final = 256
_WRITE_LOOKS: Final = 4
"""How often a connection is checked within its write timeout."""
MAX_DISCARDED_BYTES: Final = 16 * 1024 * 1024
"""How many bytes of a body are still read after the response, so that the caller gets to read the response."""


class AgentHttpProtocol(HttpToolsProtocol):
    """One HTTP/1.1 connection.

    Args:
        config: As for uvicorn's protocol, like the next three.
        read_timeout_seconds: How long the head of a request may take, and the rest of a body after its response.
        write_timeout_seconds: How long a caller may read nothing of its response.
    """

    parser: httptools.HttpRequestParser
    cycle: RequestResponseCycle | None  # type: ignore[assignment]  # None until the first request

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        read_timeout_seconds: float = 30.0,
        write_timeout_seconds: float = 60.0,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.headers: list[tuple[bytes, bytes]] = []
        self._read_timeout_seconds = read_timeout_seconds
        self._write_timeout_seconds = write_timeout_seconds
        self._write_timer: asyncio.TimerHandle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._is_handed_over = False
        self._pipelined: list[RequestResponseCycle] = []
        self._scope_of_whole_head: object = self.scope
        self._waits_for: object = None
        self._bytes_in_read = 0
        self._bytes_before = 0  # of the same head, or of a body after its response, in earlier reads

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        """Start the timer for the first request head."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers, and notify all open requests; uvicorn notifies only the last one."""
        self._stop_timer()
        self._stop_write_timer()
        super().connection_lost(exc)
        for cycle in self._pipelined:
            if not cycle.response_complete:
                cycle.disconnected = True
                cycle.message_event.set()

    def data_received(self, data: bytes) -> None:
        """Parse received bytes; count them while they don't complete a request."""
        self._unset_keepalive_if_required()
        self._bytes_in_read = len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self._take_offer(memoryview(data)[offer.args[0] :])
        except httptools.HttpParserError as error:
            # An exception of one of our callbacks is in the error's context.
            self._refuse(error.__context__ if isinstance(error.__context__, RequestError) else _not_http())
            return
        if self._is_handed_over:
            return
        in_head = self.scope is not self._scope_of_whole_head
        if in_head or self.cycle is None or self.cycle.response_complete:
            self._wait(self._bytes_in_read, MAX_HEAD_BYTES if in_head else MAX_DISCARDED_BYTES)
        if len(self.headers) > MAX_HEADER_FIELDS:  # of an incomplete head, or trailers
            self._refuse(_head_too_large())

    def _wait(self, received_bytes: int, most_bytes: int) -> None:
        if self._timer is None or self._waits_for is not self.scope:
            self._waits_for = self.scope
            self._start_timer()
            return
        self._bytes_before += received_bytes
        if self._bytes_before > most_bytes:
            self._refuse(_head_too_large())

    def _take_offer(self, rest: memoryview) -> None:
        """Become a WebSocket, or parse the request again without `Upgrade`: the parser doesn't continue after one.

        Raises:
            HttpParserError: The following bytes are not HTTP, or a callback refused the request.
        """
        while True:
            if super()._should_upgrade():
                self._stop_timer()
                self._is_handed_over = True
                self.handle_websocket_upgrade()
                return
            version = self.parser.get_http_version().encode()
            head = [b"%b %b HTTP/%b\r\n" % (self.parser.get_method(), self.url, version)]
            head += [b"%b: %b\r\n" % field for field in self.headers if field[0] != b"upgrade"]
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
            self.parser.feed_data(b"".join([*head, b"\r\n"]))
            if not rest:
                return
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
            else:
                return

    def _should_upgrade(self) -> bool:
        return True  # for any upgrade: `_take_offer` decides, and starts the request

    def on_headers_complete(self) -> None:
        """Check the head, stop the timer, and let uvicorn start the request."""
        headers, earlier = self.headers, self.cycle
        came_in_parts = self._timer is not None
        if came_in_parts or len(headers) > MAX_HEADER_FIELDS or self._bytes_in_read > MAX_HEAD_BYTES:
            self._check_size()
        by_name = dict(headers)
        if b"host" not in by_name or len(by_name) < len(headers):
            self._check_host()
        upgrades = self.parser.should_upgrade()
        if upgrades and self.parser.get_method() == b"CONNECT":  # whose target may be a path, too
            raise BadRequestError("This server is not a proxy: CONNECT is not supported.")
        if self.url[:1] != b"/":
            self._normalize_target()
        super().on_headers_complete()
        if upgrades:
            return
        self.scope[UNACKNOWLEDGED] = self.unacknowledged_bytes  # type: ignore[typeddict-unknown-key]
        cycle = self.cycle
        if self.scope["http_version"] != "1.1" and cycle is not None:
            cycle.send = _without_framing(cycle)  # type: ignore[method-assign, assignment]
            cycle.waiting_for_100_continue = False  # RFC 9110, section 10.1.1
        if self.pipeline and earlier is not None:
            self._pipelined = [*(cycle for cycle in self._pipelined if not cycle.response_complete), earlier]
        self._scope_of_whole_head = self.scope
        self.headers = []  # trailers are dropped (RFC 9110, section 6.5.1)
        if self._timer is not None:
            self._stop_timer()

    def _check_host(self) -> None:
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            raise BadRequestError("A request has exactly one Host header (RFC 9112, section 3.2).")

    def _check_size(self) -> None:
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADER_FIELDS:
            raise _head_too_large()

    def _normalize_target(self) -> None:
        """Give a target in absolute form a path (RFC 9112, section 3.2.2)."""
        target = httptools.parse_url(self.url)
        if target.path is None:
            self.url = b"/" if target.query is None else b"/?" + target.query

    def unacknowledged_bytes(self) -> int:
        """Return how many bytes the peer has not acknowledged: in our buffer, and in the kernel's if known."""
        return self.transport.get_write_buffer_size() + _in_kernel(self.transport.get_extra_info("socket"))

    def pause_writing(self) -> None:
        """Make writers wait for the caller, which must read some of its response in time."""
        super().pause_writing()
        self._start_write_timer(self.unacknowledged_bytes())

    def resume_writing(self) -> None:
        """Let writers continue."""
        self._stop_write_timer()
        super().resume_writing()

    def on_response_complete(self) -> None:
        """Continue with the next request; if there is none, the caller must read the rest of the response in time."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._start_write_timer(self.unacknowledged_bytes())

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection."""
        super().timeout_keep_alive_handler()
        self._start_write_timer(self.unacknowledged_bytes())

    def _start_write_timer(self, left: int, looks: int = 0) -> None:
        self._stop_write_timer()
        seconds = self._write_timeout_seconds / _WRITE_LOOKS  # in parts: a pause of the process counts as one
        self._write_timer = self.loop.call_later(seconds, self._look_at_writing, left, looks + 1)

    def _stop_write_timer(self) -> None:
        if self._write_timer is not None:
            self._write_timer.cancel()
            self._write_timer = None

    def _look_at_writing(self, before: int, looks: int) -> None:
        left = self.unacknowledged_bytes()
        if left and left >= before and looks >= _WRITE_LOOKS:
            logger.warning(
                "A caller read nothing of its response for %g s, the limit 'write_timeout_seconds'; its connection is "
                "closed.",
                self._write_timeout_seconds,
            )
            self.transport.abort()
        elif left:
            self._start_write_timer(left, looks if left >= before else 0)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self._read_timeout_seconds, self._time_is_up)

    def _stop_timer(self) -> None:
        self._bytes_before = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _time_is_up(self) -> None:
        if self.scope is not self._scope_of_whole_head:
            self._refuse(
                RequestReadTimeoutError(
                    f"The head of the request did not arrive within {self._read_timeout_seconds:g} s, the limit "
                    "'request_read_timeout_seconds'."
                )
            )
        else:
            self.transport.close()

    def _refuse(self, refusal: RequestError) -> None:
        """Respond with the envelope and close; only close if the bytes would become part of another response."""
        if self.transport.is_closing():
            return
        cycle = self.cycle
        in_body = cycle is not None and cycle.more_body and self.scope is self._scope_of_whole_head
        is_answering = cycle is not None and not cycle.response_complete
        if self.pipeline or (is_answering and not in_body):
            self.transport.abort()
            return
        if cycle is not None and in_body:
            if cycle.response_started:
                self.transport.abort()
                return
            cycle.disconnected = True  # ends the reading of the body; this is the response
            cycle.message_event.set()
        request_id = os.urandom(16).hex()
        problem = error_response(refusal, request_id=request_id, tells_errors=False)
        body = problem.envelope(request_id, None)
        fields = [*self.server_state.default_headers, *_REFUSAL_FIELDS, (b"x-ppio-request-id", request_id.encode())]
        lines = [b"%b: %b\r\n" % field for field in (*fields, (b"content-length", b"%d" % len(body)))]
        self.transport.write(b"".join([STATUS_LINE[problem.status], *lines, b"\r\n", body]))
        self.transport.close()
        self._start_write_timer(self.unacknowledged_bytes())


def _in_kernel(connection: Any) -> int:
    """Return how many bytes of a socket are not acknowledged yet; 0 if the system doesn't report it."""
    try:
        from fcntl import ioctl  # not on Windows
        from termios import TIOCOUTQ

        return int.from_bytes(ioctl(connection.fileno(), TIOCOUTQ, bytes(4)), sys.byteorder)
    except (ImportError, OSError):
        return 0


def _without_framing(cycle: RequestResponseCycle) -> Callable[[Any], Awaitable[None]]:
    """Return a `send` for HTTP/1.0, which has no chunks: a response without a length ends with its connection."""
    send, ends_with_connection = cycle.send, False

    async def send_on(message: Any) -> None:
        nonlocal ends_with_connection
        if message["type"] == "http.response.start":
            fields = [field for field in message.get("headers", []) if field[0].lower() != b"transfer-encoding"]
            message = {**message, "headers": fields}
            ends_with_connection = all(name.lower() != b"content-length" for name, _ in fields)
            if ends_with_connection:
                cycle.chunked_encoding = False
        elif ends_with_connection:
            cycle.expected_content_length = len(message.get("body", b""))  # or uvicorn would miss a length
        await send(message)

    return send_on


_REFUSAL_FIELDS: Final = [(b"content-type", b"application/json"), (b"connection", b"close")]


def _not_http() -> BadRequestError:
    return BadRequestError("The request is not valid HTTP.")


def _head_too_large() -> BadRequestError:
    return BadRequestError(
        f"The head of the request is larger than {MAX_HEAD_BYTES} bytes or has more than {MAX_HEADER_FIELDS} fields.",
        status_code=431,
    )
