"""An event loop that closes in bounded time, whatever still runs on it, and calls in threads of their own."""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

_numbers = itertools.count(1)
_stuck: list[threading.Thread] = []

T = TypeVar("T")
LoopFactory = Callable[[], asyncio.AbstractEventLoop]


class OwnLoop:
    """A new event loop.

    Args:
        factory: Creates the loop; by default uvloop's if it is installed, else asyncio's.

    Attributes:
        loop: The loop itself.
    """

    def __init__(self, factory: LoopFactory | None = None) -> None:
        self.loop: asyncio.AbstractEventLoop = (factory or _best_factory())()
        # Our own default executor, because `end` has to find its threads.
        self._threads = f"agent-executor-{next(_numbers)}"
        self._executor = ThreadPoolExecutor(thread_name_prefix=self._threads)
        self.loop.set_default_executor(self._executor)

    def end(self, seconds: float, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> bool:
        """Cancel the tasks left on the stopped loop, close it, and return whether all ended within `seconds`.

        `asyncio.run` would wait without a limit: for tasks that swallow their cancellation, and for the threads behind
        `asyncio.to_thread`.

        Args:
            seconds: How long this may take; each of its steps observes it.
            last: Runs on the loop after all tasks.
        """
        until = time.monotonic() + seconds
        loop = self.loop
        tasks = asyncio.all_tasks(loop)
        pending: set[asyncio.Task[None]] = set()
        for task in tasks:
            task.cancel()
        if tasks:
            _, pending = loop.run_until_complete(asyncio.wait(tasks, timeout=seconds))
        if pending:  # left behind on purpose: no "Task was destroyed but it is pending" in the log
            loop.set_exception_handler(lambda _loop, _context: None)
        loop.run_until_complete(asyncio.wait({loop.create_task(loop.shutdown_asyncgens())}, timeout=seconds))
        if last is not None:
            loop.run_until_complete(last())
        self._executor.shutdown(wait=False, cancel_futures=True)
        loop.close()
        return self._joined(until) and not pending

    def _joined(self, until: float) -> bool:
        threads = [thread for thread in threading.enumerate() if thread.name.startswith(f"{self._threads}_")]
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        left = [thread for thread in threads if thread.is_alive()]
        _stuck.extend(left)
        return not left


def _best_factory() -> LoopFactory:
    try:
        import uvloop
    except ImportError:  # not on Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def holds_up_exit() -> bool:
    """Return whether a thread of `asyncio.to_thread` is still blocked; the interpreter would wait for it at exit."""
    return any(thread.is_alive() for thread in _stuck)


def run_in_thread(function: Callable[..., T], *args: Any, name: str) -> asyncio.Future[T]:
    """Return a future of the running loop for `function(*args)`, called in a new daemon thread of this name.

    It doesn't wait for a free thread of any pool, and the process can exit while it runs. An exception that is not an
    `Exception`, such as `SystemExit`, arrives as a RuntimeError.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def finish(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():
            set_outcome(outcome)

    def call() -> None:
        settle: tuple[Callable[[Any], None], Any]
        try:
            settle = future.set_result, function(*args)
        except Exception as error:  # noqa: BLE001  # raised where the future is awaited
            settle = future.set_exception, error
        except BaseException as error:  # noqa: BLE001  # a future cannot carry these
            settle = future.set_exception, RuntimeError(f"it raised {type(error).__name__}")
        with suppress(RuntimeError):  # the loop is closed, so nothing awaits the future
            loop.call_soon_threadsafe(finish, *settle)

    threading.Thread(target=call, name=name, daemon=True).start()
    return future
