"""A second event loop in a thread, and an ASGI app on it served from the first: `isolate_handlers`."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ._asgi import ASGIApp, Message, Receive, Scope, Send

T = TypeVar("T")


class SecondLoop:
    """An event loop in a daemon thread, started at first use."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run `coroutine` on the second loop and wait for it here; cancelling the wait cancels it there."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self._started()))

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = _new_loop()
            threading.Thread(target=self._loop.run_forever, name="agent-loop", daemon=True).start()
        return self._loop


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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].removeprefix(scope.get("root_path", "")) == "/ping":
            return await self._ping(scope, receive, send)
        here = asyncio.get_running_loop()

        async def far_receive() -> Message:
            message: Message = await _on(here, receive())
            return message

        head: list[Message] = []

        async def far_send(message: Message) -> None:
            # The head waits for the first piece of body: one hop for both.
            if message["type"] == "http.response.start":
                head.append(message)
                return
            messages = [*head, message]
            head.clear()
            await _on(here, _send_each(send, messages))

        await self._loop.run(_call(self._app, scope, far_receive, far_send))


async def _on(loop: asyncio.AbstractEventLoop, awaitable: Any) -> Any:
    return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(awaitable, loop))


async def _send_each(send: Send, messages: list[Message]) -> None:
    for message in messages:
        await send(message)


async def _call(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    await app(scope, receive, send)


def _new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
