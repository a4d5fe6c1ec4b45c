"""The connections that wait for their next call: the one used last goes first, the one unused for longest is closed."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, Protocol, TypeVar


class Waiting(Protocol):
    """What can wait here."""

    origin: str


T = TypeVar("T", bound=Waiting)


class IdleConnections(Generic[T]):
    """Each verb takes as long with a thousand origins as with one.

    Args:
        max_count: The most that may wait, over all origins.
        keep_seconds: How long one may wait.
    """

    def __init__(self, max_count: int, keep_seconds: float) -> None:
        self._max_count = max_count
        self._keep_seconds = keep_seconds
        # A dict gives its newest entry with popitem() and loses any other at once; the oldest of all is the first of
        # `_since`, which says since when each waits.
        self._of_origin: dict[str, dict[T, None]] = {}
        self._since: OrderedDict[T, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._since)

    def put(self, connection: T, now: float) -> list[T]:
        """Let a connection wait. Return those that have to be closed: too old, or too many."""
        self._of_origin.setdefault(connection.origin, {})[connection] = None
        self._since[connection] = now
        return self.overdue(now)

    def take(self, origin: str) -> T | None:
        """Return the connection to `origin` that has waited for the shortest time."""
        waiting = self._of_origin.get(origin)
        if not waiting:
            return None
        connection, _ = waiting.popitem()
        del self._since[connection]
        if not waiting:
            del self._of_origin[origin]
        return connection

    def overdue(self, now: float, most: int | None = None) -> list[T]:
        """Return those that have to be closed, which wait no longer: too old, or more than `most`."""
        most = self._max_count if most is None else min(most, self._max_count)
        found: list[T] = []
        while self._since:
            oldest, since = next(iter(self._since.items()))
            if len(self._since) <= most and now - since < self._keep_seconds:
                break
            self.remove(oldest)
            found.append(oldest)
        return found

    def remove(self, connection: T) -> None:
        """Let a connection wait no longer, if it does."""
        if self._since.pop(connection, None) is None:
            return
        waiting = self._of_origin[connection.origin]
        del waiting[connection]
        if not waiting:
            del self._of_origin[connection.origin]

    def to(self, origin: str) -> list[T]:
        """Return those to `origin`, the newest last."""
        return list(self._of_origin.get(origin, ()))

    def clear(self) -> list[T]:
        """Let none wait. Return those that did."""
        found = list(self._since)
        self._since.clear()
        self._of_origin.clear()
        return found
