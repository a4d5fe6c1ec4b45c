"""Tasks of tests: waited for, and cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens in a thread, or at the other end of a socket."""
    while not condition():  # noqa: ASYNC110  # there is no event for it
        await asyncio.sleep(0.005)


async def cancelled(task: asyncio.Future[Any]) -> None:
    """Cancel a task, and wait until it has ended so."""
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
