"""The blocking implementation of the I/O primitives."""

from __future__ import annotations

import contextvars
import inspect
import os
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Generic, ParamSpec, Protocol, TypeVar

from ppio_agent_models import ConfigurationError, PPIOAgentRuntimeError

from . import AbandonedError, SharedWork, chance, key, nonce, now, tls_context, unix_now

__all__ = [
    "AbandonedError",
    "chance",
    "key",
    "nonce",
    "now",
    "tls_context",
    "unix_now",
]  # Re-exported; everything else is defined here.

T = TypeVar("T")
P = ParamSpec("P")

IS_ASYNC: Final = False
Lock = threading.Lock
sleep = time.sleep


class OneKind:
    """A class with an async twin; raises an error that names it when it is used with `async`."""

    if not TYPE_CHECKING:  # Type checkers report it anyway.

        async def __aenter__(self):
            name = type(self).__name__
            raise TypeError(f"{name} blocks: use 'with', or {name.removeprefix('Sync')} with 'async with'")

        async def __aexit__(self, *_):
            raise NotImplementedError

        def __aiter__(self):
            raise TypeError(f"{type(self).__name__} blocks: use 'for', or the classes without Sync and 'async for'")


def place() -> object:
    """Return the owner of connections, the process: after a fork, two processes must not read from one socket."""
    return os.getpid()


def is_over(place: object) -> bool:
    """Return whether connections of an owner can never be used again."""
    return place != os.getpid()


class Closable(Protocol):
    """Something with a `close` method."""

    def close(self) -> None: ...


def close_at(place: object, resource: Closable) -> None:
    """Close a resource; what a forked child closes stays open in its parent."""
    resource.close()


def hang_up(connection: object) -> None:
    """Interrupt the use of a connection in another thread, which then closes it.

    Its descriptor must not be closed here: it could be reused while the other thread still reads from it.
    """
    while (below := getattr(connection, "_connection", None)) is not None:
        connection = below
    hang_up_stream(getattr(connection, "_network_stream", None))


def hang_up_stream(stream: Any) -> None:
    """Do the same with the network stream of a connection, if there is one."""
    if stream is not None and (wire := stream.get_extra_info("socket")) is not None:
        with suppress(OSError):
            # The socket below TLS: a TLS shutdown would wait for the thread that reads.
            socket.socket.shutdown(wire, socket.SHUT_RDWR)


def end_of(parts: Iterator[object]) -> None:
    """Do nothing: an iterator that is no longer read needs no cleanup."""


def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns."""
    return function(*args, **kwargs)


def called(function: Callable[[], Any]) -> Any:
    """Return the result of a user's callable.

    Raises:
        ConfigurationError: It returns an awaitable, which cannot be awaited here.
    """
    result = function()
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise ConfigurationError("a coroutine function is for the async client; the blocking one calls plain functions")
    return result


def to_the_end(result: T) -> T:
    """Return the result: a blocking call cannot be cancelled."""
    return result


def gather(calls: list[Callable[[], T]]) -> list[T | BaseException]:
    """Run calls one after another, and return their results or exceptions."""
    outcomes: list[T | BaseException] = []
    for call in calls:
        try:
            outcomes.append(call())
        except Exception as error:  # noqa: BLE001  # handed over, not hidden
            outcomes.append(error)
    return outcomes


class SingleFlight(SharedWork[T]):
    """Runs a piece of work once for all callers that request it meanwhile, in any thread."""

    def run(self, work: Callable[[], T]) -> T:
        """Return the result of the work, run by this caller or another; its errors are raised in all callers."""
        while True:
            future, is_first = self.join()
            if is_first:
                try:
                    return self.set_result(future, work())
                except BaseException as error:
                    self.set_exception(future, error)
                    raise
            try:
                return future.result()
            except AbandonedError:
                continue


class Pump:
    """Runs work in the caller's thread, one piece at a time; a signal handler may raise in the middle."""

    is_awaited = True

    def more(self, work: Callable[[], bool], is_full: Callable[[], bool]) -> None:
        """Run the next piece."""
        work()

    def end(self, *, stop: bool) -> None:
        """Do nothing: the thread that works finds its connection closed."""


class Steps(Generic[T]):
    """Runs steps one after another in a thread, so that a wait for a step can time out without losing its result.

    Args:
        step: Called only from that thread; a false result is the last one.
    """

    def __init__(self, step: Callable[[], T]) -> None:
        self._step = step
        self._done: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue(maxsize=1)
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def next(self, seconds: float) -> T | None:
        """Return the result of the next step, or None if it is not available within `seconds`."""
        if self._thread is None:
            context = contextvars.copy_context()
            self._thread = threading.Thread(
                target=context.run, args=(self._run,), name="ppio-agent-client", daemon=True
            )
            self._thread.start()
        try:
            result, error = self._done.get(timeout=seconds)
        except queue.Empty:
            return None
        if error is not None:
            raise error
        return result

    def end(self, stop: Callable[[], None]) -> None:
        """Call `stop`, which must end the current step, and end the thread.

        A step that waits for a response ends when that begins; this waits for it at most a second.
        """
        self._ending.set()
        with suppress(queue.Empty):
            self._done.get_nowait()
        stop()
        if self._thread is not None:
            self._thread.join(1)

    def _run(self) -> None:
        more = True
        while more and not self._ending.is_set():
            try:
                result = self._step()
            except Exception as error:  # noqa: BLE001  # handed over, not hidden
                self._done.put((None, error))
                return
            more = bool(result)
            self._done.put((result, None))


def is_limit_of_caller(error: BaseException) -> bool:
    """Return whether an exception inside the work is the caller's time limit, raised by a signal handler."""
    return isinstance(error, Exception) and not isinstance(error, PPIOAgentRuntimeError)


def raised_by_signal(error: BaseException | None) -> TimeoutError | None:
    """Return the `TimeoutError` of a signal handler, which lower layers mistake for a timeout of their socket."""
    while error is not None and not isinstance(error, TimeoutError):
        error = error.__cause__
    is_theirs = error is not None and error.errno is None and not str(error).endswith("timed out")
    return error if is_theirs else None


def let_go(place: object, close: Callable[[], None]) -> None:
    """Close a resource that is no longer used, unless another process opened it."""
    if place == os.getpid():
        close()


def wait_for_left() -> None:
    """Do nothing: resources that are no longer used are closed at once."""


class Until:
    """Marks a block with a deadline.

    A blocking read cannot be interrupted, so the transport enforces the deadline: it limits the timeout of each read to
    the time left, and checks the clock between reads.
    """

    def __init__(self, deadline: float | None, total: float | None) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Background:
    """Background work in a thread, which its owner stops.

    Args:
        work: Called with this object, whose `rest` it uses for pauses.
    """

    def __init__(self, work: Callable[[Background], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ppio-agent-client", daemon=True)
        self._thread.start()

    def rest(self, seconds: float) -> bool:
        """Pause inside the work; return False if the work should stop."""
        return not self._stopping.wait(seconds)

    def wait(self, seconds: float) -> bool:
        """Wait for the end of the work, at most `seconds`, and return whether it has ended."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self, wake: Callable[[], None] | None = None) -> None:
        """Stop the work, and return when it has ended.

        Args:
            wake: Wakes up work that is blocked, because a thread cannot be interrupted.
        """
        self._stopping.set()
        if wake is not None:
            wake()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            self._work(self)
        except BaseException as error:  # noqa: BLE001  # handed over, not hidden
            self._error = error


class Gate:
    """Limits the number of connections in use."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)
        self.leave = self._places.release

    def enter(self, seconds: float | None) -> None:
        """Acquire a place, which `leave` releases.

        Raises:
            TimeoutError: None was free within `seconds`.
        """
        if not self._places.acquire(timeout=seconds):
            raise TimeoutError("the wait for a place timed out")
