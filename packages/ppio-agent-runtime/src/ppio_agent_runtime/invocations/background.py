"""Background work outside of invocations: it keeps the service busy, is listed by `/ping`, and ends with a drain."""

from __future__ import annotations

import asyncio
import functools
import inspect
import time
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, Self, TypeVar

from ppio_agent_models import ConfigurationError

from ..handler import code_of
from ..observability.logging import logger

P = ParamSpec("P")
T = TypeVar("T")

_CANCEL_GRACE_SECONDS = 5.0
"""How long cancelled tasks may take for their `finally` blocks."""


class BusyBlock:
    """One piece of background work, as an async context manager; see `PPIOAgentRuntimeApp.busy`.

    Attributes:
        name: Its name in `/ping`.
        overdue: It is older than its maximum age, and no longer keeps the service busy.
    """

    def __init__(self, background: Background, name: str, max_age_seconds: float | None) -> None:
        if not name:
            raise ConfigurationError("Background work needs a name: app.busy('index').")
        if max_age_seconds is not None and not max_age_seconds > 0:
            raise ConfigurationError(f"max_age_seconds must be more than 0, not {max_age_seconds!r}.")
        self.name = name
        self.overdue: bool = False
        self._background = background
        self._max_age_seconds = max_age_seconds
        self._began = 0.0
        self._timer: asyncio.TimerHandle | None = None

    @property
    def age_seconds(self) -> float:
        """How long it has been running, in seconds."""
        return time.monotonic() - self._began

    async def __aenter__(self) -> Self:
        if self._max_age_seconds is not None:
            self._timer = asyncio.get_running_loop().call_later(self._max_age_seconds, self._grow_old)
        return self.begin()

    async def __aexit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self.end()

    def begin(self) -> Self:
        """Start without `async with`, in any thread; a maximum age then has no effect."""
        self._began = time.monotonic()
        self._background.began(self)
        return self

    def end(self) -> None:
        """End it."""
        self._background.ended(self)

    def _grow_old(self) -> None:
        self.overdue = True
        self._background.changed()
        logger.warning(
            "The background work %r has been running for more than %g s, its maximum age; it no longer keeps the "
            "service busy.",
            self.name,
            self._max_age_seconds,
        )


class Background:
    """All background work of one app."""

    def __init__(self) -> None:
        self._blocks: dict[BusyBlock, None] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._idle: asyncio.Event | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def keeps_busy(self) -> bool:
        """Return whether any work is running that is not overdue."""
        return bool(self._blocks) and any(not block.overdue for block in list(self._blocks))

    def report(self) -> dict[str, Any]:
        """Return its fields for `/ping`: `background`, if there is any work."""
        work = [
            {"name": block.name, "age_seconds": round(block.age_seconds, 3), "overdue": block.overdue}
            for block in list(self._blocks)
        ]
        return {"background": work} if work else {}

    def busy(self, name: str, max_age_seconds: float | None) -> BusyBlock:
        """Return a block that counts while it is entered."""
        return BusyBlock(self, name, max_age_seconds)

    def counted(
        self, function: Callable[P, Coroutine[Any, Any, T]], max_age_seconds: float | None
    ) -> Callable[P, Coroutine[Any, Any, T]]:
        """Return a function that counts as busy while it runs.

        Raises:
            ConfigurationError: It is not an async function.
        """
        if not inspect.iscoroutinefunction(code_of(function)):
            raise ConfigurationError(f"@app.background_task needs an 'async def', not {function!r}.")
        name = code_of(function).__qualname__.rpartition(".")[2]
        self.busy(name, max_age_seconds)  # to raise now if the maximum age is wrong

        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self.busy(name, max_age_seconds):
                task = asyncio.current_task()
                if task is None or getattr(task.get_coro(), "cr_frame", None) is not inspect.currentframe():
                    return await function(*args, **kwargs)  # awaited in another task, which the drain must not cancel
                self._tasks.add(task)
                try:
                    return await function(*args, **kwargs)
                finally:
                    self._tasks.discard(task)

        return run

    def began(self, block: BusyBlock) -> None:
        """Add a block that has been entered."""
        self._blocks[block] = None

    def ended(self, block: BusyBlock) -> None:
        """Remove a block that has been left."""
        self._blocks.pop(block, None)
        self.changed()

    def changed(self) -> None:
        """End the drain's wait if nothing keeps the service busy."""
        if self._idle is not None and self._loop is not None and not self.keeps_busy():
            self._loop.call_soon_threadsafe(self._idle.set)

    async def drain(self, grace_seconds: float) -> None:
        """Let work finish for `grace_seconds`, then cancel the tasks of decorated functions."""
        if self.keeps_busy():
            self._idle, self._loop = asyncio.Event(), asyncio.get_running_loop()
            self.changed()  # other threads may have ended some meanwhile
            try:
                await asyncio.wait_for(self._idle.wait(), grace_seconds)
            except TimeoutError:
                names = ", ".join(repr(block.name) for block in self._blocks)
                logger.warning("The drain cancels background work: %s.", names)
        if tasks := set(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE_SECONDS)
