"""One HTTP request that is received on one event loop and answered by an ASGI app on another, in another thread.

An ordinary request crosses twice: there with its whole body, back with its whole answer. Only what does not come at
once (the rest of a body, a disconnect, the chunks of a stream) is another way, and a slow reader holds up the app.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from contextvars import Context, copy_context
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from .._asgi import Message, Receive, Send
    from .mailbox import Mailbox

_MOST_UNSENT_BYTES: Final = 64 * 1024
"""How much of an answer may be under way before the app waits."""
_GONE: Final = {"type": "http.disconnect"}


class Crossing:
    """A request and its way back; `receive` and `send` are for the app's loop, where whatever begins with `_far` runs.

    Args:
        receive: Gets the request, on the server's loop.
        send: Takes the answer, there too.
        here: Reaches the server's loop.
        there: Reaches the app's loop.
    """

    def __init__(self, receive: Receive, send: Send, here: Mailbox, there: Mailbox) -> None:
        self._receive_here = receive
        self._send_here = send
        self._here = here
        self._there = there
        self._incoming: deque[Message] = deque()
        self._outgoing: deque[Any] = deque()
        self._is_told = False
        self._is_over = False
        self._failure: BaseException | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._listening: asyncio.Task[None] | None = None
        self._taken_bytes = 0
        self._far_task: asyncio.Task[None] | None = None
        self._far_news: asyncio.Event | None = None
        self._far_room: asyncio.Event | None = None
        self._far_listens = False
        self._far_sent_bytes = 0

    async def answer_by(self, app: Callable[[], Awaitable[None]]) -> None:
        """Let `app` answer, which is called on its loop.

        Raises:
            Exception: What it raised, or what `send` raised.
        """
        self._there.post(self._far_begin, app, copy_context())
        try:
            await self._take_answer()
        except BaseException:
            with suppress(RuntimeError):  # that loop is closed: everything on it is cancelled
                self._there.post(self._far_stop)
            raise
        finally:
            if self._listening is not None:
                self._listening.cancel()
        if self._failure is not None:
            raise self._failure

    async def _take_answer(self) -> None:
        outgoing = self._outgoing
        while True:
            self._is_told = False  # first, as in `Mailbox`
            is_over = self._is_over
            while outgoing:
                self._taken_bytes += await self._take(outgoing.popleft())
                if self._far_room is not None:
                    self._there.post(self._far_room.set)
            if is_over:
                return
            self._waiting = self._here.loop.create_future()
            if not self._is_told:
                await self._waiting
            self._waiting = None

    async def _take(self, message: Any) -> int:
        """Send a message of the answer, and the pieces of a body that have gathered behind it; return their size."""
        body: bytes = message.get("body", b"")
        if message.get("more_body") and self._outgoing and len(body) < _MOST_UNSENT_BYTES:
            parts = [body]
            while self._outgoing and message.get("more_body"):
                message = self._outgoing.popleft()
                parts.append(message.get("body", b""))
            body = b"".join(parts)
            message = {**message, "body": body}
        await self._send_here(message)
        return len(body)

    def _arrived(self) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    def _listen(self) -> None:
        """Receive what comes next, for an app that waits for it."""
        self._listening = self._here.loop.create_task(self._hand_over())

    async def _hand_over(self) -> None:
        message: Any = _GONE
        try:
            message = await self._receive_here()
        finally:
            with suppress(RuntimeError):  # closed: nobody waits there
                self._there.post(self._far_hear, message)

    def _far_begin(self, app: Callable[[], Awaitable[None]], context: Context) -> None:
        self._far_task = self._there.loop.create_task(self._far_run(app), context=context)

    async def _far_run(self, app: Callable[[], Awaitable[None]]) -> None:
        try:
            await app()
        except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the whole loop with it
            self._failure = RuntimeError(f"{type(error).__name__} in the app")
            self._failure.__cause__ = error
        except BaseException as error:  # noqa: BLE001  # raised where the server waits
            self._failure = error
        self._is_over = True
        with suppress(RuntimeError):  # the server's loop is closed
            self._far_tell()

    def _far_stop(self) -> None:
        if self._far_task is not None:
            self._far_task.cancel()

    async def receive(self) -> Message:
        """Return the next message of the request."""
        while not self._incoming:
            if self._far_news is None:
                self._far_news = asyncio.Event()
            self._far_news.clear()
            if not self._far_listens:
                self._far_listens = True
                self._here.post(self._listen)
            await self._far_news.wait()
        return self._incoming.popleft()

    def _far_hear(self, message: Message) -> None:
        self._far_listens = False
        self._incoming.append(message)
        if self._far_news is not None:
            self._far_news.set()

    async def send(self, message: Message) -> None:
        """Take the next message of the answer."""
        pace = self._far_send(message, len(message.get("body", b"")), more=message.get("more_body", False))
        if pace is not None:
            await pace

    def _far_send(self, message: Any, size: int, *, more: bool) -> Awaitable[None] | None:
        """Send what has so many bytes; what is returned has to be awaited.

        After the last ones the invocation goes on until they are taken, unless they are the whole answer and few.
        """
        self._outgoing.append(message)
        self._far_sent_bytes += size
        self._far_tell()
        if not more and self._far_sent_bytes == size <= _MOST_UNSENT_BYTES:
            return None
        most_unsent = _MOST_UNSENT_BYTES if more else 0
        return self._far_wait(most_unsent) if self._far_sent_bytes - self._taken_bytes > most_unsent else None

    async def _far_wait(self, most_unsent: int) -> None:
        """Wait until the server has taken all but so many bytes."""
        while self._far_sent_bytes - self._taken_bytes > most_unsent:
            self._far_room = self._far_room or asyncio.Event()
            self._far_room.clear()
            if self._far_sent_bytes - self._taken_bytes > most_unsent:  # it may have been taken just before
                await self._far_room.wait()

    def _far_tell(self) -> None:
        if not self._is_told:
            self._is_told = True
            self._here.post(self._arrived)
