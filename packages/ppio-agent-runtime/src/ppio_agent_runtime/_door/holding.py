"""Worker threads under a limit of concurrency: a place lasts as long as its thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Any

from .._engine.context import current_context
from .._engine.workers import WorkerThreads

if TYPE_CHECKING:
    from .concurrency import Concurrency


class HoldingThreads(WorkerThreads):
    """Worker threads that keep an invocation's place taken while they work for it, whoever still waits for them."""

    def __init__(self, most: int, concurrency: Concurrency) -> None:
        super().__init__(most)
        self._concurrency = concurrency

    def run(self, context: Context, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """See `WorkerThreads.run`."""
        return super().run(context, self._held(context, function), *args)

    def submit(self, context: Context, function: Callable[..., Any], *args: Any) -> None:
        """See `WorkerThreads.submit`."""
        super().submit(context, self._held(context, function), *args)

    def _held(self, context: Context, function: Callable[..., Any]) -> Callable[..., Any]:
        release = self._concurrency.hold(context.get(current_context))
        if release is None:
            return function
        loop = asyncio.get_running_loop()

        def work(*args: Any) -> Any:
            try:
                return function(*args)
            finally:
                with suppress(RuntimeError):  # the loop has been closed, and the service with it
                    loop.call_soon_threadsafe(release)

        return work
