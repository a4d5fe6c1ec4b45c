"""One request on a connection and its answer: what uvicorn calls a cycle, with head and body in one write.

uvicorn writes the head of an answer at once and the body in a second write: a syscall more, which is 5 us of 26. Here
the head of an answer of known length waits for its body, as ASGI has it ("Response Start"). The head of a stream waits
until the loop has control again, and no longer: nobody knows when its first chunk comes, but mostly it is there.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .._asgi import Headers, Message, Scope
    from .exchange import Answerer

logger = logging.getLogger("uvicorn.error")

Target = tuple[str, bytes, bytes]
"""Path, the same as it was sent, and query."""

_STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode()) for status in map(int, HTTPStatus)
}
_NOT_IN_A_NAME: Final = re.compile(rb'[\x00-\x20\x7f()<>@,;:\[\]={}\\"]')
_IN_A_VALUE: Final = bytes({9, *range(32, 127), *range(128, 256)})
_MOST_NAMES: Final = 1024
_FRAMING: Final = frozenset({b"content-length: ", b"transfer-encoding: ", b"connection: "})
_LARGE: Final = 64 * 1024
"""A body from here on gets a write of its own: copying it behind the head would cost more than a syscall."""
_OK: Final = _STATUS_LINES[200]
_APOLOGY: Final = b"Internal Server Error"

_prefixes: dict[bytes, bytes] = {}
"""Names of response fields that were checked, each as it begins its line: two regexes for every field of every answer
are 3 us."""


def _prefix_of(name: bytes) -> bytes:
    if not name or _NOT_IN_A_NAME.search(name):
        raise RuntimeError("Invalid HTTP header name.")
    prefix = name.lower() + b": "
    if len(_prefixes) < _MOST_NAMES:
        _prefixes[name] = prefix
    return prefix


class Cycle:
    """A request and its answer.

    Args:
        connection: Has `transport`, `flow`, `tasks` and `loop`, makes the scope, and hears of the end of the answer.
        method: Such as `POST`.
        target: Path, the same as it was sent, and query.
        http_version: `1.1` or `1.0`.
        headers: As they came, names in lower case.
        found: The same by name.

    Attributes:
        keep_alive: The connection can be used again.
        body: What has arrived of the body and was not taken yet.
        more_body: More of it is to come.
        task: Where the app answers.
        key_id: Which key opened the door, or None.
        disconnected: The caller has hung up.
        response_started: The head of the answer is on its way.
        response_complete: So is its last byte.
    """

    # Defaults of the class instead of stores for each request.
    key_id: str | None = None
    keep_alive = True
    body: bytes | bytearray = b""
    more_body = True
    disconnected = False
    response_started = False
    response_complete = False
    task: asyncio.Task[None] | None = None
    _has_news = False
    _bell: asyncio.Event | None = None
    _head = b""
    _chunked = False
    _left = 0
    _scope: Scope | None = None

    def __init__(
        self,
        connection: Any,
        method: str,
        target: Target,
        http_version: str,
        headers: Headers,
        found: dict[bytes, bytes],
    ) -> None:
        self.method = method
        self.target = target
        self.http_version = http_version
        self.headers = headers
        self.found = found
        self._connection = connection
        self._transport: asyncio.Transport = connection.transport
        self._flow = connection.flow
        self._expects_continue = b"expect" in found and found[b"expect"].lower() == b"100-continue"

    @property
    def client(self) -> tuple[str, int] | None:
        """Address and port of the caller."""
        client: tuple[str, int] | None = self._connection.client
        return client

    @property
    def scope(self) -> Scope:
        """The request as ASGI has it, made when somebody asks."""
        if self._scope is None:
            self._scope = self._connection.scope_of(self)
        return self._scope

    async def run(self, answer: Answerer) -> None:
        """Let it be answered; what is left undone is answered with a 500, or cut."""
        try:
            await answer(self)
        except asyncio.CancelledError:  # by a second signal, or after the farewell of the drain
            logger.warning("%s %s is cut: the server ends.", self.method, self.target[0])
            await self._give_up()
        except BaseException:
            logger.exception("Exception in ASGI application")
            await self._give_up()
        else:
            if not self.response_complete and not self.disconnected:
                logger.error("The ASGI app returned without completing its response.")
                await self._give_up()
        finally:
            self._connection.tasks.discard(self.task)

    def set(self) -> None:
        """Say that there is something new to receive."""
        self._has_news = True
        if self._bell is not None:
            self._bell.set()

    def add_body(self, part: bytes) -> None:
        """Take a part of the body; the first one, mostly the only one, is not copied."""
        if self.body:
            if type(self.body) is bytes:
                self.body = bytearray(self.body)
            self.body += part
        else:
            self.body = part
        self.set()

    def take_body(self) -> bytes | None:
        """Return the whole body if all of it is here, as it mostly is; None if not, or empty: then `receive` has it."""
        if self.more_body or self.disconnected or not self.body:
            return None
        body, self.body = self.body, b""
        self._has_news = False
        if self._flow.read_paused:
            self._flow.resume_reading()
        return bytes(body)

    def answer(self, fields: bytes, body: bytes) -> Awaitable[None] | None:
        """Answer 200, at once unless the caller reads slowly.

        Args:
            fields: Lines of the head that need no checks, `Content-Length` among them.
            body: As long as that says.
        """
        if self._flow.write_paused:
            return self._later(self.answer, fields, body)
        if not self.disconnected:
            self._begin(fields)
            self._write(body)
            self._complete()
        return None

    def stream(self, fields: bytes, data: bytes, *, more: bool) -> Awaitable[None] | None:
        """Answer 200 with a part of a stream, at once unless the caller reads slowly.

        Args:
            fields: Lines of the head that need no checks, with the first part; with the others nothing.
            data: Not empty.
            more: It is not the last part.
        """
        if self._flow.write_paused:
            return self._later(self.stream, fields, data, more=more)
        if not self.disconnected:
            if fields:
                self._begin(fields + b"transfer-encoding: chunked\r\n")
                self._chunked = True
            self._send_body(data, more_body=more)
        return None

    def _begin(self, fields: bytes) -> None:
        stays = b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n"
        self._head = b"".join((_OK, self._connection.own_fields(), fields, stays))
        self.response_started = True

    async def _later(self, answer: Callable[..., object], *arguments: bytes, **options: bool) -> None:
        await self._flow.drain()
        answer(*arguments, **options)

    async def receive(self) -> Message:
        """Return what ASGI calls `http.request` or `http.disconnect`."""
        if self._expects_continue and not self.response_started and not self._transport.is_closing():
            self._expects_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        if not self.disconnected and not self.response_complete:
            self._flow.resume_reading()
            if not self._has_news:
                await self._news()
            self._has_news = False
        if self.disconnected or self.response_complete:
            return {"type": "http.disconnect"}
        body, self.body = self.body, b""
        return {"type": "http.request", "body": bytes(body), "more_body": self.more_body}

    async def _news(self) -> None:
        if self._bell is None:  # a body mostly arrives with its head, so that nobody waits
            self._bell = asyncio.Event()
        await self._bell.wait()
        self._bell.clear()

    async def send(self, message: Message) -> None:
        """Take `http.response.start`, then `http.response.body` up to the last one."""
        if self._flow.write_paused and not self.disconnected:
            await self._flow.drain()
        if self.disconnected:
            return
        kind = message["type"]
        if kind == "http.response.body" and self.response_started and not self.response_complete:
            self._send_body(message.get("body", b""), more_body=message.get("more_body", False))
        elif kind == "http.response.start" and not self.response_started:
            self._start(message["status"], message.get("headers", ()))
        else:
            raise RuntimeError(f"Unexpected ASGI message {kind!r}: it comes too early, or too late.")

    def _start(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        lines: list[bytes] = []
        framing: dict[bytes, bytes] = {}
        for name, value in headers:
            prefix = _prefixes.get(name) or _prefix_of(name)
            lines += (prefix, value, b"\r\n")
            if prefix in _FRAMING:
                framing[prefix] = value
        fields = b"".join(lines)
        line_ends = b"\r\n" * (len(lines) // 3)
        if fields.translate(None, _IN_A_VALUE) != line_ends:  # one more, inside of a value, would begin a field
            raise RuntimeError("Invalid HTTP header value.")
        further = self._frame(status, framing)
        status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        self._head = b"".join((status_line, self._connection.own_fields(), fields, further, b"\r\n"))
        self.response_started = True
        if self._chunked:
            self._connection.loop.call_soon(self._send_lone_head)

    def _frame(self, status: int, framing: dict[bytes, bytes]) -> bytes:
        """Find out where the body ends and whether the connection stays; return the fields that have yet to say so."""
        further = b""
        if framing.get(b"transfer-encoding: ", b"").lower() == b"chunked":
            self._chunked = True
        elif (length := framing.get(b"content-length: ")) is not None:
            self._left = int(length)
        elif self.method != "HEAD" and status not in (204, 304):
            self._chunked = True
            further = b"transfer-encoding: chunked\r\n"
        if b"close" in framing.get(b"connection: ", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive:
            further += b"connection: close\r\n"
        return further

    def _send_body(self, body: bytes, *, more_body: bool) -> None:
        if self.method == "HEAD":
            self._left, body = 0, b""
        elif self._chunked:
            end = b"" if more_body else b"0\r\n\r\n"
            body = b"".join((b"%x\r\n" % len(body), body, b"\r\n", end)) if body else end
        else:
            self._left -= len(body)
            if self._left < 0 or (self._left and not more_body):
                raise RuntimeError("The body of the answer is not as long as its Content-Length says.")
        self._write(body)
        if not more_body:
            self._complete()

    def _write(self, data: bytes) -> None:
        if self._head:
            head, self._head = self._head, b""
            if len(data) < _LARGE:
                data = head + data
            else:
                self._transport.write(head)
        if data:
            self._transport.write(data)

    def _send_lone_head(self) -> None:
        if self._head and not self.disconnected:
            self._write(b"")

    def _complete(self) -> None:
        self.response_complete = True
        if self._bell is not None:
            self._bell.set()
        is_read = not self.more_body or self._expects_continue  # what was not asked for does not come
        if is_read and not self.keep_alive:
            self._transport.close()
        self._connection.on_response_complete()

    async def _give_up(self) -> None:
        if self.response_started:
            if self._chunked:
                self._send_lone_head()
            self._transport.close()
            return
        fields = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", b"%d" % len(_APOLOGY)),
            (b"connection", b"close"),
        ]
        await self.send({"type": "http.response.start", "status": 500, "headers": fields})
        await self.send({"type": "http.response.body", "body": _APOLOGY})
