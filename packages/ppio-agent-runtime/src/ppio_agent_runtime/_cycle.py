"""One request on a connection and its answer: what uvicorn calls a cycle, with head and body in one write.

uvicorn writes the head of an answer at once and the body in a second write: a syscall more, which is 5 us of 26. Here
the head of an answer of known length waits for its body, as ASGI has it ("Response Start"). The head of a stream waits
until the loop has control again, and no longer: nobody knows when its first chunk comes, but mostly it is there.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from ._asgi import ASGIApp, Message, Scope

logger = logging.getLogger("uvicorn.error")

_STATUS_LINES: Final = {
    status: b"HTTP/1.1 %d %b\r\n" % (status, HTTPStatus(status).phrase.encode()) for status in map(int, HTTPStatus)
}
_NOT_IN_A_NAME: Final = re.compile(rb'[\x00-\x20\x7f()<>@,;:\[\]={}\\"]')
_IN_A_VALUE: Final = bytes({9, *range(32, 127), *range(128, 256)})
_MOST_NAMES: Final = 1024
_FRAMING: Final = frozenset({b"content-length: ", b"transfer-encoding: ", b"connection: "})
_LARGE: Final = 64 * 1024
"""A body from here on gets a write of its own: copying it behind the head would cost more than a syscall."""
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
        connection: uvicorn's protocol object: has `transport`, `flow`, `tasks`, and hears of the end of the answer.
        scope: The ASGI scope.
        keep_alive: The caller wants to use the connection again.
        expects_continue: It waits for `100 Continue` before it sends its body.

    Attributes:
        body: What has arrived of the body and was not taken yet.
        more_body: More of it is to come.
        task: Where the app answers.
        disconnected: The caller has hung up.
        response_started: The head of the answer is on its way.
        response_complete: So is its last byte.
    """

    __slots__ = (
        "_bell",
        "_chunked",
        "_connection",
        "_expects_continue",
        "_flow",
        "_has_news",
        "_head",
        "_left",
        "_transport",
        "body",
        "disconnected",
        "keep_alive",
        "more_body",
        "response_complete",
        "response_started",
        "scope",
        "task",
    )

    def __init__(self, connection: Any, scope: Scope, *, keep_alive: bool, expects_continue: bool) -> None:
        self.scope = scope
        self.keep_alive = keep_alive
        self.body: bytes | bytearray = b""
        self.more_body = True
        self.disconnected = False
        self.response_started = False
        self.response_complete = False
        self.task: asyncio.Task[None] | None = None
        self._has_news = False
        self._bell: asyncio.Event | None = None
        self._connection = connection
        self._transport: asyncio.Transport = connection.transport
        self._flow = connection.flow
        self._expects_continue = expects_continue
        self._head = b""
        self._chunked = False
        self._left = 0

    async def run(self, app: ASGIApp) -> None:
        """Let the app answer; what it leaves undone is answered with a 500, or cut."""
        try:
            await app(self.scope, self.receive, self.send)
        except asyncio.CancelledError:  # by a second signal, or after the farewell of the drain
            logger.warning("%s %s is cut: the server ends.", self.scope["method"], self.scope["path"])
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

    @property
    def message_event(self) -> Cycle:
        """What uvicorn rings when there is something new to receive: its `asyncio.Event`, without the event."""
        return self

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

    async def receive(self) -> Message:
        """Return what ASGI calls `http.request` or `http.disconnect`."""
        if self._expects_continue and not self._transport.is_closing():
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
        if fields.translate(None, _IN_A_VALUE) != b"\r\n" * (
            len(lines) // 3
        ):  # one inside of a value would begin a field
            raise RuntimeError("Invalid HTTP header value.")
        further = self._frame(status, framing)
        status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d \r\n" % status
        self._head = b"".join((status_line, self._connection.own_fields(), fields, further, b"\r\n"))
        self._expects_continue = False
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
        elif self.scope["method"] != "HEAD" and status not in (204, 304):
            self._chunked = True
            further = b"transfer-encoding: chunked\r\n"
        if b"close" in framing.get(b"connection: ", b"").lower():
            self.keep_alive = False
        elif not self.keep_alive:
            further += b"connection: close\r\n"
        return further

    def _send_body(self, body: bytes, *, more_body: bool) -> None:
        if self.scope["method"] == "HEAD":
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
        self.set()
        if not self.keep_alive:
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
