"""Threads for `def` handlers and generators: grown when needed, never shared with `/ping`, never waited for at exit.

`concurrent.futures` would do, at twice the cost of a hand-over and with threads that hold up the exit of the process
while a handler blocks. Here a hand-over is one `SimpleQueue.put` and one `call_soon_threadsafe` back.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from contextvars import Context
from queue import SimpleQueue
from typing import Any

_Job = tuple[Context, Callable[..., Any], tuple[Any, ...], "asyncio.Future[Any] | None"]
_Jobs = SimpleQueue[_Job | None]


class WorkerThreads:
    """A pool of daemon threads.

    Args:
        most: Largest number of threads; further jobs wait for a free one, first come, first served.

    Attributes:
        most: The same.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self._jobs: _Jobs = SimpleQueue()
        self._threads = 0
        self._lock = threading.Lock()
        self._unfinished = 0

    @property
    def threads(self) -> int:
        """How many threads have been started; idle ones stay."""
        return self._threads

    @property
    def unfinished(self) -> int:
        """How many jobs are running or waiting for a thread."""
        return self._unfinished

    def run(self, context: Context, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Return a future of the running loop for `function(*args)`, called in a thread within `context`."""
        future = asyncio.get_running_loop().create_future()
        self._put((context, function, args, future))
        return future

    def submit(self, context: Context, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` in a thread within `context`; its result and errors go nowhere."""
        self._put((context, function, args, None))

    def close(self) -> None:
        """Let the threads end, each when its job is done. The next job starts new ones."""
        with self._lock:
            jobs, self._jobs = self._jobs, SimpleQueue()
            threads, self._threads = self._threads, 0
        for _ in range(threads):
            jobs.put(None)

    def _put(self, job: _Job) -> None:
        with self._lock:
            if self._unfinished >= self._threads < self.most:
                self._start_thread()
            self._unfinished += 1
            self._jobs.put(job)

    def _start_thread(self) -> None:
        thread = threading.Thread(
            target=self._work, args=(self._jobs,), name=f"agent-worker-{self._threads + 1}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system gives no more of them: those that are there must do
            if not self._threads:
                raise
        else:
            self._threads += 1

    def _work(self, jobs: _Jobs) -> None:
        while (job := jobs.get()) is not None:
            context, function, args, future = job
            result = error = None
            try:
                if future is None or not future.cancelled():  # else its caller gave up while it waited for a thread
                    result = context.run(function, *args)
            except BaseException as caught:  # noqa: BLE001  # also SystemExit: a handler must not end its thread
                error = caught
            with self._lock:
                self._unfinished -= 1
            if future is not None:
                _hand_back(future, result, error)
            # Keep nothing of a finished job alive while waiting for the next one.
            del job, context, function, args, future, result, error


def _hand_back(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    try:
        future.get_loop().call_soon_threadsafe(_settle, future, result, error)
    except RuntimeError:  # the loop has been closed: nobody waits any more
        return


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future cannot carry it
        future.set_exception(RuntimeError("the handler raised StopIteration"))
    elif isinstance(error, Exception):
        future.set_exception(error)
    else:
        future.set_exception(RuntimeError(f"the handler raised {type(error).__name__}"))
