"""`isolate_handlers`: runs an ASGI app on a second event loop in a thread, served from the first loop."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .event_loop import OwnLoop

if TYPE_CHECKING:
    from .asgi import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")

_SHUTDOWN_SECONDS: Final = 2.0
"""How long remaining tasks may take to end when the loop is closed."""
_MAX_UNSENT_BYTES: Final = 64 * 1024
"""How much of a response may be in transit before the app waits."""


class SecondLoop:
    """An event loop in a daemon thread, started at first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: _LoopThread | None = None
        self._abandoned = False

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the second loop and wait for it here; cancelling the wait cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, started on first use."""
        if self._loop is None:
            self._thread = _LoopThread()
            self._loop = self._thread.loop
            self._thread.start()
        return self._loop

    async def answers(self, seconds: float) -> bool:
        """Return whether the loop responds within `seconds`: a handler may block it forever."""
        if self._loop is None or self._abandoned:
            return not self._abandoned
        try:
            await asyncio.wait_for(self.run(asyncio.sleep(0)), seconds)
        except TimeoutError:
            self.abandon()
        return not self._abandoned

    def abandon(self) -> None:
        """Stop waiting for the loop, because a handler blocks it."""
        self._abandoned = True

    def close(self, seconds: float) -> bool:
        """Stop the thread, and return whether it ended; `run` starts a new one. Blocks the calling thread."""
        thread, self._thread, self._loop = self._thread, None, None
        abandoned, self._abandoned = self._abandoned, False
        if thread is None:
            return True
        thread.stop()
        thread.join(0 if abandoned else seconds)
        return not thread.is_alive()


class _LoopThread(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="agent-loop", daemon=True)
        self._own = OwnLoop()
        self.loop = self._own.loop

    def run(self) -> None:
        try:
            self.loop.run_forever()
        finally:
            self._own.end(_SHUTDOWN_SECONDS)

    def stop(self) -> None:
        with suppress(RuntimeError):  # closed already
            self.loop.call_soon_threadsafe(self.loop.stop)


class IsolatedApp:
    """An ASGI app that runs another one on a second loop, except `/ping`.

    Args:
        app: The app for the second loop, with its lifespan.
        ping: Handles `/ping` on the first loop, without middleware.
        second: The second loop.
    """

    def __init__(self, app: ASGIApp, ping: ASGIApp, second: SecondLoop) -> None:
        self._app = app
        self._ping = ping
        self._second = second

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request to the second loop, and the response back."""
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == "/ping":
            return await self._ping(scope, receive, send)
        here = asyncio.get_running_loop()

        async def receive_there() -> Message:
            return await _awaited_on(here, _message(receive))

        async def send_there(message: Message) -> None:
            await _awaited_on(here, _sent(send, message))

        if scope["type"] == "http":
            answer = _Answer(here, self._second.loop, send)
            await answer.pass_on(_call(self._app, scope, receive_there, answer.send_there))
        else:
            await self._second.run(_call(self._app, scope, receive_there, send_there))


class _Answer:
    """Passes the response of an app on one loop to a caller on another; the app may be ahead, up to a limit.

    Args:
        here: The caller's loop.
        there: The app's loop.
        send: Sends the response, on the caller's loop.
    """

    def __init__(self, here: asyncio.AbstractEventLoop, there: asyncio.AbstractEventLoop, send: Send) -> None:
        self._here = here
        self._there = there
        self._send = send
        self._messages: deque[Message] = deque()
        self._news = asyncio.Event()  # of the caller's loop
        self._room: asyncio.Event | None = None  # of the app's loop, once it had to wait
        self._is_notified = False
        self._made_bytes = 0
        self._sent_bytes = 0

    async def pass_on(self, work: Coroutine[Any, Any, None]) -> None:
        """Run the app on its loop, and send its messages on this one; cancelling this cancels the app.

        Raises:
            Exception: What the app or `send` raised.
        """
        working = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._there))
        working.add_done_callback(lambda _: self._news.set())
        try:
            while not working.done() or self._messages:
                await self._news.wait()
                self._news.clear()
                self._is_notified = False  # before reading, so that a later message notifies again
                while self._messages:
                    message = self._messages.popleft()
                    await self._send(message)
                    self._sent_bytes += len(message.get("body", b""))
                    if self._room is not None:
                        self._there.call_soon_threadsafe(self._room.set)
        finally:
            working.cancel()
        await working

    async def send_there(self, message: Message) -> None:
        """Take a message of the app; wait if it is too far ahead of its caller."""
        self._messages.append(message)
        self._made_bytes += len(message.get("body", b""))
        if not self._is_notified:
            self._is_notified = True
            self._here.call_soon_threadsafe(self._news.set)
        while self._made_bytes - self._sent_bytes > _MAX_UNSENT_BYTES:
            self._room = self._room or asyncio.Event()
            self._room.clear()
            if self._made_bytes - self._sent_bytes > _MAX_UNSENT_BYTES:  # it may have been sent just before
                await self._room.wait()


async def _awaited_on(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, T]) -> T:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, loop))


async def _message(receive: Receive) -> Message:
    return await receive()


async def _sent(send: Send, message: Message) -> None:
    await send(message)


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await app(scope, receive, send)
    except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the whole loop with it
        raise RuntimeError(f"{type(error).__name__} in the app") from error
