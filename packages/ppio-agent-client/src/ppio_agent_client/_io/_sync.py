"""The blocking half of the pair."""

from __future__ import annotations

import inspect
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, ParamSpec, Protocol, TypeVar

from ppio_agent_models import ConfigurationError

from . import AbandonedError, SharedWork, chance, key, nonce, now, tls_context, unix_now

__all__ = ["chance", "key", "nonce", "now", "tls_context", "unix_now"]  # handed on; everything else is made here

T = TypeVar("T")
P = ParamSpec("P")

IS_ASYNC: Final = False
Lock = threading.Lock
sleep = time.sleep


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

    Its descriptor must not be closed here: the other thread would go on with whatever gets its number next.
    """
    while (below := getattr(connection, "_connection", None)) is not None:
        connection = below
    hang_up_stream(getattr(connection, "_network_stream", None))


def hang_up_stream(stream: Any) -> None:
    """Do the same by the stream of a connection, where there is one."""
    if stream is not None and (wire := stream.get_extra_info("socket")) is not None:
        with suppress(OSError):
            # Of the socket below TLS: the goodbye of TLS would wait for the thread that reads.
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
            raise TimeoutError("every place is taken")
