"""Threads for `def` handlers and generators: started on demand, not shared with `/ping`, not waited for at exit.

With `concurrent.futures`, handing over a job would cost twice as much, and threads of blocked handlers would delay the
exit of the process. Here it takes one `SimpleQueue.put`, and one `call_soon_threadsafe` for the result.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import Context
from queue import SimpleQueue
from typing import Any, NamedTuple

Release = Callable[[], None]


class EarlyResult(NamedTuple):
    """The result of a job that is not over yet.

    Attributes:
        value: The job's result.
        rest: What its thread still has to do.
    """

    value: Any
    rest: Callable[[], None]


class _Job(NamedTuple):
    context: Context
    function: Callable[..., Any]
    args: tuple[Any, ...]
    future: asyncio.Future[Any] | None
    loop: asyncio.AbstractEventLoop | None
    release: Release | None


class WorkerThreads:
    """A pool of daemon threads.

    Args:
        most: Largest number of threads; further jobs wait for a free one, first come, first served.

    Attributes:
        threads: How many have been started; idle ones stay.
        unfinished: How many jobs are running or waiting for a thread.
        hold: Called on the event loop for each job with its context; may return a function that is called there once
            the job's thread is done. So concurrency limits count threads whose caller has stopped waiting.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.hold: Callable[[Context], Release | None] | None = None
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        self.threads: int = 0
        self._lock = threading.Lock()
        self.unfinished: int = 0
        self._suspended = 0

    def run(self, context: Context, function: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Return a future of the running loop for `function(*args)`, called in a thread within `context`."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        self._put(_Job(context, function, args, future, loop, self.hold and self.hold(context)))
        return future

    def submit(self, context: Context, function: Callable[..., Any], *args: Any) -> None:
        """Call `function(*args)` in a thread within `context`; its result and errors go nowhere."""
        loop = asyncio.get_running_loop() if self.hold else None
        self._put(_Job(context, function, args, None, loop, self.hold and self.hold(context)))

    def close(self) -> None:
        """Stop the threads, each when its job is done. The next job starts new ones."""
        with self._lock:
            jobs, self._jobs = self._jobs, SimpleQueue()
            threads, self.threads = self.threads, 0
        for _ in range(threads):
            jobs.put(None)

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Allow one more thread while the calling job waits inside the block.

        When it continues there may be more threads at work than `most`; the surplus ends with the next jobs.
        """
        with self._lock:
            self._suspended += 1
            if self.unfinished > self.threads:
                self._start_thread()
        try:
            yield
        finally:
            with self._lock:
                self._suspended -= 1

    def _put(self, job: _Job) -> None:
        with self._lock:
            self.unfinished += 1
            if self.unfinished > self.threads:
                self._start_thread()
            self._jobs.put(job)

    def _start_thread(self) -> None:
        if self.threads - self._suspended >= self.most:
            return
        thread = threading.Thread(
            target=self._work, args=(self._jobs,), name=f"agent-worker-{self.threads + 1}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:  # the system allows no more threads
            if self.threads <= self._suspended:
                raise
        else:
            self.threads += 1

    def _work(self, jobs: SimpleQueue[_Job | None]) -> None:
        while (job := jobs.get()) is not None:
            context, function, args, future, loop, release = job
            result = error = None
            try:
                if future is None or not future.cancelled():  # it may be, if it waited for a thread
                    result = context.run(function, *args)
                if type(result) is EarlyResult:
                    rest = result.rest
                    _hand_back(future, loop, result.value, None)
                    future = result = None
                    context.run(rest)
                    del rest
            except BaseException as caught:  # noqa: BLE001  # also SystemExit: a handler must not end its thread
                error = caught
            with self._lock:
                self.unfinished -= 1
                is_surplus = self._jobs is jobs and self.threads - self._suspended > self.most
                self.threads -= is_surplus
            if release is not None and loop is not None:
                with suppress(RuntimeError):  # the loop has been closed, and the service with it
                    loop.call_soon_threadsafe(release)
            _hand_back(future, loop, result, error)
            # Keep no references to a finished job while waiting for the next one.
            del job, context, function, args, future, loop, release, result, error
            if is_surplus:
                return


def _hand_back(
    future: asyncio.Future[Any] | None, loop: asyncio.AbstractEventLoop | None, result: Any, error: BaseException | None
) -> None:
    if future is None or loop is None:
        return
    with suppress(RuntimeError):  # the loop is closed, so nothing awaits the future
        loop.call_soon_threadsafe(_settle, future, result, error)


def _settle(future: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if future.done():
        if hasattr(result, "abandon"):
            result.abandon()
    elif error is None:
        future.set_result(result)
    elif isinstance(error, StopIteration):  # a future cannot carry it
        future.set_exception(RuntimeError("the handler raised StopIteration"))
    elif isinstance(error, Exception):
        future.set_exception(error)
    else:
        future.set_exception(RuntimeError(f"the handler raised {type(error).__name__}"))
