"""Runs that no HTTP connection stands behind: a task awaits them, or a WebSocket."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from ppio_agent_models import InvocationCancelledError

from .run import Run

if TYPE_CHECKING:
    from .._asgi import Message, Receive
    from .context import RequestContext


class UnconnectedRun(Run):
    """A run without an HTTP connection: an awaiting task instead of a `send`, and mostly nothing to listen to.

    Args:
        gone: Waits until the caller has left, and then returns `http.disconnect`.

    Attributes:
        late: Done once the stopped handler has refused to end for so long that its caller should not wait any more.
        over: Done once the run has been finished.
    """

    def __init__(self, context: RequestContext, gone: Receive | None = None) -> None:
        super().__init__(context, gone or never, nowhere)
        loop = asyncio.get_running_loop()
        self.late: asyncio.Future[None] = loop.create_future()
        self.over: asyncio.Future[None] = loop.create_future()

    def watch(self, now: float) -> bool:
        """Look after the run at every tick of the clock."""
        if super().watch(now) and not self.late.done():
            self.late.set_result(None)
        return False

    async def outcome(self, task: asyncio.Task[Any]) -> Any:
        """Return or raise what the run's task does; cancelling this cancels the run.

        Raises:
            InvocationError: The run was stopped, and its code refuses to end.
        """
        task.add_done_callback(_seen)
        try:
            await asyncio.wait({task, self.late}, return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            self.stop(caller_left())
            await asyncio.wait({task, self.late}, return_when=asyncio.FIRST_COMPLETED)
            raise
        if not task.done():
            self.check()
        return task.result()


def caller_left() -> InvocationCancelledError:
    """Return why a run is stopped whose result nobody wants any more."""
    return InvocationCancelledError("Nobody waits for this invocation any more; it was cancelled.")


def _seen(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()  # whoever waited has been told, or has left


async def never() -> Message:
    """Receive nothing."""
    never: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
    return await never


async def nowhere(_message: Message) -> None:
    """Send nothing."""
