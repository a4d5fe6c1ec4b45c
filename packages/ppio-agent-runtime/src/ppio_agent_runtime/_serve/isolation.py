"""A second event loop in a thread, and an ASGI app on it served from the first: `isolate_handlers`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ..event_loop import OwnLoop
from .crossing import Crossing
from .mailbox import Mailbox

if TYPE_CHECKING:
    from .._asgi import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")

_FAREWELL_SECONDS: Final = 2.0
"""How long what is left on the loop may take to end when the loop does."""


class SecondLoop:
    """An event loop in a daemon thread, started at first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._mailbox: Mailbox | None = None
        self._thread: _LoopThread | None = None
        self._abandoned = False

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the second loop and wait for it here; cancelling the wait cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._started()))

    @property
    def mailbox(self) -> Mailbox:
        """What reaches the loop, which runs from here on."""
        loop = self._started()
        if self._mailbox is None or self._mailbox.loop is not loop:
            self._mailbox = Mailbox(loop)
        return self._mailbox

    async def answers(self, seconds: float) -> bool:
        """Say whether the loop gives a sign of life within `seconds`: a handler may block it for ever."""
        if self._loop is None or self._abandoned:
            return not self._abandoned
        try:
            await asyncio.wait_for(self.run(asyncio.sleep(0)), seconds)
        except TimeoutError:
            self.abandon()
        return not self._abandoned

    def abandon(self) -> None:
        """Wait for the loop no more: what runs on it does not give it back."""
        self._abandoned = True

    def close(self, seconds: float) -> bool:
        """End the thread and say whether it ended; `run` starts a new one. Blocks the calling thread."""
        thread, self._thread, self._loop = self._thread, None, None
        abandoned, self._abandoned = self._abandoned, False
        if thread is None:
            return True
        thread.stop()
        thread.join(0 if abandoned else seconds)
        return not thread.is_alive()

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._thread = _LoopThread()
            self._loop = self._thread.loop
            self._thread.start()
        return self._loop


class _LoopThread(threading.Thread):
    def __init__(self) -> None:
        super().__init__(name="agent-loop", daemon=True)
        self._own = OwnLoop()
        self.loop = self._own.loop

    def run(self) -> None:
        try:
            self.loop.run_forever()
        finally:
            self._own.end(_FAREWELL_SECONDS)

    def stop(self) -> None:
        with suppress(RuntimeError):  # closed already
            self.loop.call_soon_threadsafe(self.loop.stop)


class IsolatedApp:
    """An ASGI app that runs another one on a second loop, all but `/ping`.

    Args:
        app: What runs there, its lifespan included.
        ping: Answers `/ping` here, past every middleware.
        loop: Where the rest runs.
    """

    def __init__(self, app: ASGIApp, ping: ASGIApp, loop: SecondLoop) -> None:
        self._app = app
        self._ping = ping
        self._loop = loop
        self._here: Mailbox | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == "/ping":
            return await self._ping(scope, receive, send)
        if scope["type"] != "http":
            return await self._step_by_step(scope, receive, send)
        crossing = Crossing(receive, send, self._mailbox_here(), self._loop.mailbox)
        await crossing.answer_by(lambda: self._app(scope, crossing.receive, crossing.send))

    def _mailbox_here(self) -> Mailbox:
        here = asyncio.get_running_loop()
        if self._here is None or self._here.loop is not here:
            self._here = Mailbox(here)
        return self._here

    async def _step_by_step(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the app speak another protocol than HTTP, each message awaited on the other loop."""
        here = asyncio.get_running_loop()

        async def far_receive() -> Message:
            message: Message = await _on(here, receive())
            return message

        async def far_send(message: Message) -> None:
            await _on(here, send(message))

        await self._loop.run(_call(self._app, scope, far_receive, far_send))


async def _on(loop: asyncio.AbstractEventLoop, awaitable: Any) -> Any:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaitable, loop))


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    try:
        await app(scope, receive, send)
    except (SystemExit, KeyboardInterrupt) as error:  # asyncio would end the whole loop with it
        raise RuntimeError(f"{type(error).__name__} in the app") from error
