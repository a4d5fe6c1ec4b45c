"""The blocking half of the pair."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, ParamSpec, TypeVar

from ._clock import chance, now, unix_now
from ._sync_socket import Socket, connect

__all__ = [
    "IS_ASYNC",
    "Gate",
    "Lock",
    "Socket",
    "Until",
    "chance",
    "connect",
    "gather",
    "now",
    "place",
    "run_blocking",
    "sleep",
    "to_the_end",
    "unix_now",
]

T = TypeVar("T")
P = ParamSpec("P")

IS_ASYNC: Final = False
Lock = threading.Lock
sleep = time.sleep


def place() -> object:
    """Return where connections belong: a blocking socket is at home everywhere."""
    return None


def run_blocking(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns."""
    return function(*args, **kwargs)


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


class Gate:
    """Lets so many in at once."""

    def __init__(self, places: int) -> None:
        self._places = threading.Semaphore(places)

    def enter(self, seconds: float | None) -> None:
        """Take a place.

        Raises:
            TimeoutError: None was free for `seconds`.
        """
        if not self._places.acquire(timeout=seconds):
            raise TimeoutError("every place is taken")

    def leave(self) -> None:
        """Give a place back."""
        self._places.release()


class Until:
    """Marks a block that has a deadline.

    A blocking read cannot be interrupted, so the transport keeps the deadline: it shortens the timeout of each read to
    what is left and looks at the clock between reads.
    """

    def __init__(self, deadline: float | None, total: float | None) -> None:
        self.deadline = deadline
        self.total = total

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None
