"""The blocking half of the pair."""

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
]  # handed on; everything else is made here

T = TypeVar("T")
P = ParamSpec("P")

IS_ASYNC: Final = False
Lock = threading.Lock
sleep = time.sleep


class OneKind:
    """What has an async twin, and says so where it is used like it."""

    if not TYPE_CHECKING:  # who finds it before it runs

        async def __aenter__(self):
            name = type(self).__name__
            raise TypeError(f"{name} blocks: use 'with', or {name.removeprefix('Sync')} with 'async with'")

        async def __aexit__(self, *_):
            raise NotImplementedError

        def __aiter__(self):
            raise TypeError(f"{type(self).__name__} blocks: use 'for', or the classes without Sync and 'async for'")


def place() -> object:
    """Return where connections belong: two processes must not read from one socket, which a fork gives to both."""
    return os.getpid()


def is_over(place: object) -> bool:
    """Tell whether connections at a place can never be used again."""
    return place != os.getpid()


class Closable(Protocol):
    """What can be closed."""

    def close(self) -> None: ...


def close_at(place: object, resource: Closable) -> None:
    """Close something; what a forked process closes stays open in the one it came from."""
    resource.close()


def hang_up(connection: object) -> None:
    """End what a connection is used for in another thread, which then closes it.

    Its descriptor must not be closed here: the other thread would continue with whatever gets its number next.
    """
    while (below := getattr(connection, "_connection", None)) is not None:
        connection = below
    hang_up_stream(getattr(connection, "_network_stream", None))


def hang_up_stream(stream: Any) -> None:
    """Do the same by the stream of a connection, where there is one."""
    if stream is not None and (wire := stream.get_extra_info("socket")) is not None:
        with suppress(OSError):
            # Of the socket below TLS: the closing message of TLS would wait for the thread that reads.
            socket.socket.shutdown(wire, socket.SHUT_RDWR)


def end_of(parts: Iterator[object]) -> None:
    """Do nothing: what nobody reads any more ends by itself."""


def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns."""
    return function(*args, **kwargs)


def called(function: Callable[[], Any]) -> Any:
    """Return what somebody else's callable gives.

    Raises:
        ConfigurationError: It gives an awaitable, and there is nobody to await it.
    """
    result = function()
    if inspect.isawaitable(result):
        if inspect.iscoroutine(result):
            result.close()
        raise ConfigurationError("a coroutine function is for the async client; the blocking one calls plain functions")
    return result


def to_the_end(result: T) -> T:
    """Return the result: nothing cancels a blocking call halfway."""
    return result


def gather(calls: list[Callable[[], T]]) -> list[T | BaseException]:
    """Return the outcomes of all calls, run one after another, exceptions among them."""
    outcomes: list[T | BaseException] = []
    for call in calls:
        try:
            outcomes.append(call())
        except Exception as error:  # noqa: BLE001  # handed over, not hidden
            outcomes.append(error)
    return outcomes


class SingleFlight(SharedWork[T]):
    """Does a piece of work once for all who ask while it is done, in whichever thread they are."""

    def run(self, work: Callable[[], T]) -> T:
        """Return what the work gives, done by this caller or by another; its errors are raised in all of them."""
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
    """Lets the caller do one piece of work after the other; a signal handler may raise in the middle of one."""

    is_awaited = True

    def more(self, work: Callable[[], bool], is_full: Callable[[], bool]) -> None:
        """Do another piece."""
        work()

    def end(self, *, stop: bool) -> None:
        """Do nothing: whoever does the work finds its connection closed."""


class Steps(Generic[T]):
    """Takes one step after the other in a thread, so that waiting for one can stop without losing it.

    Args:
        step: Is called from that thread alone; what is false is its last.
    """

    def __init__(self, step: Callable[[], T]) -> None:
        self._step = step
        self._done: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue(maxsize=1)
        self._ending = threading.Event()
        self._thread: threading.Thread | None = None

    def next(self, seconds: float) -> T | None:
        """Return what the next step gives, None if that takes longer than so many seconds."""
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
        """Stop what the steps are about, which ends the one that is under way, and its thread.

        One that waits for an answer to begin ends when it does: that is not waited for.
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
    """Tell whether an exception inside the work is the caller's way to stop waiting: that of a signal handler."""
    return isinstance(error, Exception) and not isinstance(error, PPIOAgentRuntimeError)


def raised_by_signal(error: BaseException | None) -> TimeoutError | None:
    """Return the `TimeoutError` of a signal handler, which the layers below take for that of their socket."""
    while error is not None and not isinstance(error, TimeoutError):
        error = error.__cause__
    is_theirs = error is not None and error.errno is None and not str(error).endswith("timed out")
    return error if is_theirs else None


def let_go(place: object, close: Callable[[], None]) -> None:
    """Close something that nobody holds any more; what another process opened is that one's."""
    if place == os.getpid():
        close()


def wait_for_left() -> None:
    """Do nothing: what was let go of is closed at once."""


class Until:
    """Marks a block that has a deadline.

    A blocking read cannot be interrupted, so the transport keeps the deadline: it shortens the timeout of each read to
    what is left and looks at the clock between reads.
    """

    def __init__(self, deadline: float | None, total: float | None) -> None: ...

    def __enter__(self) -> None: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Background:
    """Work that goes on beside its owner, who stops it: a thread.

    Args:
        work: Gets this object, to rest with.
    """

    def __init__(self, work: Callable[[Background], None]) -> None:
        self._work = work
        self._error: BaseException | None = None
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ppio-agent-client", daemon=True)
        self._thread.start()

    def rest(self, seconds: float) -> bool:
        """Pause inside the work. False when it is to stop."""
        return not self._stopping.wait(seconds)

    def wait(self, seconds: float) -> bool:
        """Wait until the work is over, at most so long, and return whether it is."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self, wake: Callable[[], None] | None = None) -> None:
        """End the work and return when it is gone.

        Args:
            wake: Frees work that waits for something, which a thread can not be made to leave otherwise.
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
    """Lets so many connections be in use at once."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)
        self.leave = self._places.release

    def enter(self, seconds: float | None) -> None:
        """Take a place, which `leave` gives back.

        Raises:
            TimeoutError: None was free for `seconds`.
        """
        if not self._places.acquire(timeout=seconds):
            raise TimeoutError("the wait for a place timed out")
