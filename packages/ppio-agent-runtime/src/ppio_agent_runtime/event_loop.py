"""An event loop that ends in bounded time, whatever is left on it, and calls in threads that delay nothing."""

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
        factory: Makes it; without one it is uvloop's where there is uvloop.

    Attributes:
        loop: The loop itself.
    """

    def __init__(self, factory: LoopFactory | None = None) -> None:
        self.loop: asyncio.AbstractEventLoop = (factory or _best_factory())()
        # Our own default executor, because we have to know its threads: see `end`.
        self._threads = f"agent-executor-{next(_numbers)}"
        self._executor = ThreadPoolExecutor(thread_name_prefix=self._threads)
        self.loop.set_default_executor(self._executor)

    def end(self, seconds: float, last: Callable[[], Coroutine[Any, Any, None]] | None = None) -> bool:
        """Cancel what is left on the loop, which has stopped, close it, and say whether all ended within `seconds`.

        `asyncio.run` would wait without a limit: for tasks that swallow their cancellation, and for the threads behind
        `asyncio.to_thread`.

        Args:
            seconds: How long everything together may take, more or less.
            last: Runs on the loop when nothing else does any more.
        """
        until = time.monotonic() + seconds
        loop = self.loop
        tasks = asyncio.all_tasks(loop)
        pending: set[asyncio.Task[None]] = set()
        for task in tasks:
            task.cancel()
        if tasks:
            _, pending = loop.run_until_complete(asyncio.wait(tasks, timeout=seconds))
        if pending:  # left behind knowingly: nobody needs to be told when they are destroyed
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
    """Say whether blocking code behind `asyncio.to_thread` was left; the interpreter would wait for it at its exit."""
    return any(thread.is_alive() for thread in _stuck)


def run_in_thread(function: Callable[..., T], *args: Any, name: str) -> asyncio.Future[T]:
    """Return a future of the running loop for `function(*args)`, called in a new daemon thread of this name.

    No handler and no other library's pool can keep it waiting, and the exit of the process does not wait for it.
    Whatever is raised there that is no `Exception`, such as `SystemExit`, arrives as a RuntimeError.
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
        except Exception as error:  # noqa: BLE001  # whoever awaits the future gets it
            settle = future.set_exception, error
        except BaseException as error:  # noqa: BLE001  # a future cannot carry these
            settle = future.set_exception, RuntimeError(f"it raised {type(error).__name__}")
        with suppress(RuntimeError):  # the loop has been closed: nobody waits any more
            loop.call_soon_threadsafe(finish, *settle)

    threading.Thread(target=call, name=name, daemon=True).start()
    return future
