"""SubscribeToTask: a task is followed over its questions and their answers, until it is over."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING, Final

from ppio_agent_models import DrainingError, InvocationTimeoutError

from ..errors import ClientGoneError
from .a2a_task import INPUT_REQUIRED

if TYPE_CHECKING:
    from ..asgi import Message, Receive
    from ..context import RequestContext
    from ..events.encoded import EncodedEvent
    from ..plugin_interface import PluginInterface
    from .a2a_task import Found
    from .a2a_tasks import Tasks

_LOOK_SECONDS: Final = 0.2
"""How often it looks whether there is an answer, which may have come to another process."""


class Following:
    """The runs of a task, from the newest on, as one event source.

    Args:
        app: The app.
        tasks: Its tasks.
        found: The task; new runs are added to it.
        ends_with_question: Whether a question ends the stream, as in version 0.3, where it is the final event.
    """

    def __init__(self, app: PluginInterface, tasks: Tasks, found: Found, *, ends_with_question: bool) -> None:
        self._app = app
        self._tasks = tasks
        self._found = found
        self._ends_with_question = ends_with_question

    @property
    def context(self) -> RequestContext:
        """Of the newest run."""
        return self._found.runs[-1].context

    async def batches(self, receive: Receive | None = None) -> AsyncGenerator[list[EncodedEvent]]:
        """Yield the events of each run, and an empty list where a heartbeat is due.

        Raises:
            PPIOAgentRuntimeError: A run failed, or the task still waits for an answer and is followed no longer.
            ClientGoneError: The caller disconnected.
        """
        found = self._found
        waits = found.status.state == INPUT_REQUIRED
        while True:
            if waits:
                async with aclosing(self._until_answered(receive)) as heartbeats:
                    async for nothing in heartbeats:
                        yield nothing
            if found.known.is_cancelled:
                return
            async with aclosing(found.runs[-1].batches(receive)) as batches:  # type: ignore[type-var]  # a generator
                async for events in batches:
                    yield events
            waits = found.status.state == INPUT_REQUIRED
            if not waits or self._ends_with_question:
                return

    async def _until_answered(self, receive: Receive | None) -> AsyncGenerator[list[EncodedEvent]]:
        app, loop = self._app, asyncio.get_running_loop()
        hearing = loop.create_task(_hang_up(receive or loop.create_future))
        begun = quiet_since = loop.time()
        try:
            while not await self._tasks.has_gone_on(self._found):
                if app.draining:
                    raise DrainingError("The agent is shutting down; subscribe to the task again.")
                if loop.time() - begun > app.config.stream_timeout:
                    raise InvocationTimeoutError(
                        f"The task was not answered within {app.config.stream_timeout:g} s; subscribe to it again."
                    )
                done, _ = await asyncio.wait([hearing], timeout=_LOOK_SECONDS)
                if done:
                    raise ClientGoneError
                if loop.time() - quiet_since >= app.config.heartbeat_seconds:
                    quiet_since = loop.time()
                    yield []
        finally:
            hearing.cancel()


async def _hang_up(receive: Callable[[], Awaitable[Message]]) -> None:
    """Return when the caller has disconnected."""
    while (await receive())["type"] != "http.disconnect":
        pass
