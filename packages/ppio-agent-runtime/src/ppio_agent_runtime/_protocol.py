"""uvicorn's httptools protocol with the limits that it lacks: on the head of a request, in bytes, fields and time.

A caller who sends a head slowly, an endless one, or nothing at all would otherwise hold memory and a connection for as
long as it likes. What is refused here gets the error envelope, and the connection is closed: after bytes that are not
HTTP nothing on it can be trusted.
"""

from __future__ import annotations

import asyncio
import os
from typing import Any, Final

from ppio_agent_models import BadRequestError, RequestError, RequestReadTimeoutError

from ._pipelining import PipeliningProtocol
from ._problems import problem_of

MAX_HEAD_BYTES: Final = 64 * 1024
"""Most bytes of a request's target and header fields, trailers included; what other servers take, and then some."""
MAX_HEADER_FIELDS: Final = 256

_REASONS: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class HeadLimitError(ValueError):
    """The head breaks a limit. Ends the parser; never leaves this file."""


class AgentHttpProtocol(PipeliningProtocol):
    """One HTTP/1.1 connection."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limit_seconds: float = config.app.config.request_read_timeout_seconds
        self._in_head = False
        self._in_message = False
        self._head_bytes = 0
        self._hosts = 0
        self._waiting_since = 0.0
        self._unread: object = self  # no cycle yet
        self._refusal: RequestError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock: a head must arrive."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows what asyncio says
        self._waiting_since = self.loop.time()
        self._timer = self.loop.call_later(self._limit_seconds, self._look)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, and stop the clock: from here on it is no matter of requests."""
        self._stop_clock()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived; a head that is not complete yet is timed and measured."""
        continues = self._in_head
        super().data_received(data)
        if self._in_head or not (self._in_message or self.is_answering()):
            if not self._waiting_since:
                self._waiting_since = self.loop.time()
            if continues and self._in_head:
                # The parser shows a field when it is complete, however long that takes.
                self._head_bytes += len(data)
                if self._head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                    self._refusal = _head_too_large()
                    self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = self._in_message = True
        self._head_bytes = self._hosts = 0

    def on_url(self, url: bytes) -> None:
        """Take a part of the request's target."""
        self._head_bytes += len(url)
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take one header or trailer field."""
        self._head_bytes += len(name) + len(value)
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) >= MAX_HEADER_FIELDS:
            self._refusal = _head_too_large()
            raise HeadLimitError
        if len(name) == 4 and name.lower() == b"host":
            self._hosts += 1
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begin to answer."""
        self._in_head = False
        self._waiting_since = 0.0
        if self._hosts != 1 and (self._hosts or self.parser.get_http_version() != "1.0"):
            self._refusal = BadRequestError("A request has exactly one Host header (RFC 9112, section 3.2).")
            raise HeadLimitError
        super().on_headers_complete()
        if self.parser.should_upgrade() and not self._should_upgrade():
            # The parser gives up on what follows, so nothing after this request could be read.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Note that the body is complete."""
        self._in_message = False
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse what arrived, and close."""
        refusal = self._refusal or BadRequestError("The request is not valid HTTP.")
        cycle = self.cycle
        in_answer = self.is_answering() and (cycle.response_started or not cycle.more_body)
        if in_answer or self.is_answering_earlier():
            # Bytes in the middle of another answer would be taken for a part of it.
            self.transport.close()
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

    def _stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: a caller that offers another protocol is answered in HTTP/1.1, as it must expect."""

    def _look(self) -> None:
        """Close the connection if it has kept us waiting for too long; look again later otherwise."""
        if self.transport.is_closing():
            return
        waited = self.loop.time() - self._waiting_since if self._waiting_since else 0.0
        if waited >= self._limit_seconds:
            if self._in_head:
                self._refusal = RequestReadTimeoutError(
                    f"The head of the request did not arrive within {self._limit_seconds:g} s, the limit "
                    "'request_read_timeout_seconds'."
                )
                self.send_400_response("")
            self.transport.close()
            return
        if self._in_message and not self._in_head and not self.is_answering():
            # The answer went out before the body was complete, and the rest still trickles in.
            if self._unread is self.cycle:
                self.transport.close()
                return
            self._unread = self.cycle
        self._timer = self.loop.call_later(self._limit_seconds - waited, self._look)


def _head_too_large() -> BadRequestError:
    return BadRequestError(
        f"The head of the request is larger than {MAX_HEAD_BYTES} bytes or has more than {MAX_HEADER_FIELDS} fields.",
        status_code=431,
    )
