"""Things that tests and handlers wait for, in whatever thread or loop they run."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from typing import TypeVar

from .raw_http import LIMIT_SECONDS

T = TypeVar("T")


class Gate:
    """Opened once, by anybody; waited for in threads (`wait`) and in coroutines (`passed`)."""

    def __init__(self, name: str = "gate") -> None:
        self._name = name
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []

    @property
    def is_open(self) -> bool:
        return self._event.is_set()

    def open(self) -> None:
        """Let everybody through, from now on."""
        with self._lock:
            self._event.set()
            for loop, event in self._waiting:
                with suppress(RuntimeError):  # closed: nobody waits there any more
                    loop.call_soon_threadsafe(event.set)
            self._waiting.clear()

    def wait(self) -> None:
        """Wait in a thread; fail when nobody ever opens."""
        assert self._event.wait(LIMIT_SECONDS), f"{self._name} never opened"

    async def passed(self) -> None:
        """Wait in a coroutine."""
        event = asyncio.Event()
        with self._lock:
            if self._event.is_set():
                return
            self._waiting.append((asyncio.get_running_loop(), event))
        await event.wait()


class Count:
    """A number that only grows, and whoever waits for it to get there."""

    def __init__(self) -> None:
        self._value = 0
        self._changed = threading.Condition()

    @property
    def value(self) -> int:
        return self._value

    def add(self) -> None:
        with self._changed:
            self._value += 1
            self._changed.notify_all()

    def wait_for(self, value: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._value >= value, LIMIT_SECONDS), f"{self._value} of {value}"


@contextmanager
def opening(*gates: Gate) -> Iterator[None]:
    """Open the gates at the end of the block, whatever happens in it."""
    try:
        yield
    finally:
        for gate in gates:
            gate.open()


def aside(function: Callable[[], T]) -> Future[T]:
    """Call `function` in a thread of its own and return its future."""
    future: Future[T] = Future()

    def call() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001  # handed to whoever waits
            future.set_exception(error)

    threading.Thread(target=call, name="aside", daemon=True).start()
    return future


def eventually(is_so: Callable[[], bool], what: str) -> None:
    """Ask until it is so. For states of the system that nothing announces, such as another process's memory."""
    pause = threading.Event()
    for _ in range(int(LIMIT_SECONDS / 0.01)):
        if is_so():
            return
        pause.wait(0.01)
    raise AssertionError(f"never happened: {what}")
