"""Work that many ask for and one does: the part that both sides share."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class AbandonedError(Exception):
    """Who did the work was stopped; somebody else has to do it."""


class Flights(Generic[T]):
    """Keeps the one flight that is in the air."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._flight: Future[T] | None = None

    @property
    def in_the_air(self) -> bool:
        """Whether somebody does the work right now."""
        return self._flight is not None

    def board(self) -> tuple[Future[T], bool]:
        """Return the flight in the air, or a new one, and whether it is new: then the caller has to fly it."""
        with self._lock:
            if self._flight is not None:
                return self._flight, False
            self._flight = Future()
            self._flight.set_running_or_notify_cancel()  # a passenger who leaves does not cancel it
            return self._flight, True

    def land(self, flight: Future[T], result: T) -> T:
        """Give everybody on board the result."""
        self._clear()
        flight.set_result(result)
        return result

    def crash(self, flight: Future[T], error: BaseException) -> None:
        """Tell everybody on board what went wrong; if only the pilot was stopped, another takes over."""
        self._clear()
        flight.set_exception(error if isinstance(error, Exception) else AbandonedError())

    def _clear(self) -> None:
        with self._lock:
            self._flight = None
