"""Work that is no invocation: it keeps the service busy, is listed by `/ping`, and ends with the drain."""

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
        name: For the list in `/ping`.
        overdue: It runs longer than it should, and no longer keeps the service busy.
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
        """For how long it has been running."""
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
        """Count from now on, without a block and in any thread; a maximum age has no effect then."""
        self._began = time.monotonic()
        self._background.began(self)
        return self

    def end(self) -> None:
        """Count no longer."""
        self._background.ended(self)

    def _grow_old(self) -> None:
        self.overdue = True
        self._background.changed()
        logger.warning(
            "The background work %r has been running for more than %g s, its maximum age; it does not keep the service "
            "busy any more.",
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
        """Say whether any work is going on that is not overdue."""
        return bool(self._blocks) and any(not block.overdue for block in list(self._blocks))

    def report(self) -> dict[str, Any]:
        """Return what `/ping` says about it: nothing, or a field `background`."""
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
        """Return the async function so that it counts while it runs.

        Raises:
            ConfigurationError: It is no async function.
        """
        if not inspect.iscoroutinefunction(code_of(function)):
            raise ConfigurationError(f"@app.background_task goes above an 'async def', not {function!r}.")
        name = code_of(function).__qualname__.rpartition(".")[2]
        self.busy(name, max_age_seconds)  # a wrong maximum age is told now

        @functools.wraps(function)
        async def run(*args: P.args, **kwargs: P.kwargs) -> T:
            async with self.busy(name, max_age_seconds):
                task = asyncio.current_task()
                if task is None or getattr(task.get_coro(), "cr_frame", None) is not inspect.currentframe():
                    return await function(*args, **kwargs)  # within another task, which is not ours to end
                self._tasks.add(task)
                try:
                    return await function(*args, **kwargs)
                finally:
                    self._tasks.discard(task)

        return run

    def began(self, block: BusyBlock) -> None:
        """Note that a block has been entered."""
        self._blocks[block] = None

    def ended(self, block: BusyBlock) -> None:
        """Note that a block has been left."""
        self._blocks.pop(block, None)
        self.changed()

    def changed(self) -> None:
        """Wake the drain if it waits for nothing any more."""
        if self._idle is not None and self._loop is not None and not self.keeps_busy():
            self._loop.call_soon_threadsafe(self._idle.set)

    async def drain(self, grace_seconds: float) -> None:
        """Let work finish for `grace_seconds`, then cancel the tasks that decorated functions run in."""
        if self.keeps_busy():
            self._idle, self._loop = asyncio.Event(), asyncio.get_running_loop()
            self.changed()  # other threads may have ended some meanwhile
            try:
                await asyncio.wait_for(self._idle.wait(), grace_seconds)
            except TimeoutError:
                names = ", ".join(repr(block.name) for block in self._blocks)
                logger.warning("Background work is cut by the drain: %s.", names)
        if tasks := set(self._tasks):
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_CANCEL_GRACE_SECONDS)
