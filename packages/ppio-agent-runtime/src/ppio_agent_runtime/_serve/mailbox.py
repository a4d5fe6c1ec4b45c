"""Calls from one thread to the event loop of another, those of one turn behind a single wake-up."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any


class Mailbox:
    """What an event loop has yet to call, in the order in which it was posted.

    `call_soon_threadsafe` is a syscall that wakes the other thread, and 20 us with the wait for the interpreter's lock;
    what is posted before that thread has got to it goes along for nothing.

    Args:
        loop: Whose thread calls.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._calls: deque[tuple[Callable[..., None], tuple[Any, ...]]] = deque()
        self._is_told = False

    def post(self, call: Callable[..., None], *args: Any) -> None:
        """Let the loop call `call(*args)`, which must not raise.

        Raises:
            RuntimeError: The loop is closed.
        """
        self._calls.append((call, args))
        if not self._is_told:
            self._is_told = True
            self.loop.call_soon_threadsafe(self._deliver)

    def _deliver(self) -> None:
        self._is_told = False  # first: what is posted from here on is either seen below or wakes the loop again
        for _ in range(len(self._calls)):
            call, args = self._calls.popleft()
            call(*args)
