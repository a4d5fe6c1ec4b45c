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
MAX_DISCARDED_BYTES: Final = 16 * 1024 * 1024
"""Most bytes of a body that are still read once its answer is out, so that the caller gets to see that answer."""

_REASONS: Final = {400: b"Bad Request", 408: b"Request Timeout", 431: b"Request Header Fields Too Large"}


class HeadLimitError(ValueError):
    """The head breaks a limit. Ends the parser; never leaves this file."""


class AgentHttpProtocol(PipeliningProtocol):
    """One HTTP/1.1 connection."""

    def __init__(self, config: Any, server_state: Any, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        if self.app is config.app:  # nothing of uvicorn's is around it: past its door, straight to what is inside
            self.app = config.app.stack
        self._limit_seconds: float = config.app.config.request_read_timeout_seconds
        self._in_head = False
        self._in_message = False
        self._measure = False
        self._unseen_bytes = 0
        self._waiting_since = 0.0
        self._idle_since = 0.0
        self._unread: object = self  # no cycle yet
        self._unread_since = 0.0
        self._refusal: RequestError | None = None
        self._timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Start the clock: a head must arrive."""
        super().connection_made(transport)  # type: ignore[arg-type]  # uvicorn narrows what asyncio says
        self._waiting_since = self.loop.time()
        self._timer = self.loop.call_later(min(self._limit_seconds, self.timeout_keep_alive), self._look)

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection over, and stop the clock: from here on it is no matter of requests."""
        self._stop_clock()
        super().handle_websocket_upgrade()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the clock."""
        self._stop_clock()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what arrived. A request that comes in one read, as most do, is measured in passing."""
        self._idle_since = 0.0
        if self._in_message:
            self._take_more(data)
        else:
            self._measure = len(data) > MAX_HEAD_BYTES
            super().data_received(data)
        cycle: Any = self.cycle
        if self._in_head or (not self._in_message and (cycle is None or cycle.response_complete)):
            self._waiting_since = self._waiting_since or self.loop.time()

    def _take_more(self, data: bytes) -> None:
        """Take more of a request, and count what comes to nothing: the parser only shows fields that are complete."""
        was_in_head = self._in_head
        self._measure = self._measure or was_in_head
        body = 0 if was_in_head else len(self.cycle.body)
        super().data_received(data)
        if not self._in_message or self.transport.is_closing():
            return
        if was_in_head != self._in_head or (not was_in_head and len(self.cycle.body) != body):
            self._unseen_bytes = 0
            return
        self._unseen_bytes += len(data)
        if self._unseen_bytes > (MAX_HEAD_BYTES if self._in_head or self.is_answering() else MAX_DISCARDED_BYTES):
            self._refusal = _head_too_large()
            self.send_400_response("")

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._in_head = self._in_message = True
        self._unseen_bytes = 0

    def on_headers_complete(self) -> None:
        """Check the head, and begin to answer."""
        if self._measure or len(self.headers) > MAX_HEADER_FIELDS:
            self._check_size()
        hosts = [name for name, _ in self.headers].count(b"host")
        if hosts != 1 and (hosts or self.parser.get_http_version() != "1.0"):
            self._refusal = BadRequestError("A request has exactly one Host header (RFC 9112, section 3.2).")
            raise HeadLimitError
        self._in_head = False
        self._waiting_since = 0.0
        super().on_headers_complete()
        if self.parser.should_upgrade() and not self._should_upgrade():
            # The parser gives up on what follows, so nothing after this request could be read.
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Note that the body is complete, and the trailers with it."""
        if self._measure or len(self.headers) > MAX_HEADER_FIELDS:
            self._check_size()
        self._in_message = False
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Begin with the request behind this one, or note since when the connection is idle.

        uvicorn starts and cancels a timer for each request instead; that is 1.5 us.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        else:
            self._idle_since = self.loop.time()

    def _check_size(self) -> None:
        """Refuse a head that is too large. Asked where so much arrived that it could be."""
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADER_FIELDS:
            self._refusal = _head_too_large()
            raise HeadLimitError

    def send_400_response(self, msg: str) -> None:
        """Refuse what arrived, and close."""
        refusal = self._refusal or BadRequestError("The request is not valid HTTP.")
        cycle: Any = self.cycle
        is_answering = cycle is not None and not cycle.response_complete
        is_answered = self._in_message and not self._in_head and not is_answering
        in_answer = is_answering and (cycle.response_started or not cycle.more_body)
        if is_answered or in_answer or self.is_answering_earlier():
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
        now = self.loop.time()
        idle = now - self._idle_since if self._idle_since else 0.0
        if idle >= self.timeout_keep_alive:
            self.transport.close()
            return
        waited = now - self._waiting_since if self._waiting_since else 0.0
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
            if self._unread is not self.cycle:
                self._unread, self._unread_since = self.cycle, now
            elif now - self._unread_since >= self._limit_seconds:
                self.transport.close()
                return
        next_look = min(self._limit_seconds - waited, self.timeout_keep_alive - idle)
        self._timer = self.loop.call_later(next_look, self._look)


def _head_too_large() -> BadRequestError:
    return BadRequestError(
        f"The head of the request is larger than {MAX_HEAD_BYTES} bytes or has more than {MAX_HEADER_FIELDS} fields.",
        status_code=431,
    )
