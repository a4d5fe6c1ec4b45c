"""The interface between processes that share a store: each can find, read and cancel invocations of the others."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ppio_agent_models import UnavailableError

from .store import InvocationStore

if TYPE_CHECKING:
    from .kept_log import Entry, HeldEvents
    from .store import StoredInvocation

_RETRY_AFTER_SECONDS: Final = 1.0
LOST: Final = -1
"""Result of `append` for an invocation that another process has ended."""


class RefusedError(UnavailableError):
    """The process where an invocation should run refused it: nothing was started."""

    def __init__(self) -> None:
        super().__init__(
            "Another replica refused this invocation before it started, so nothing was started.",
            error_type=UnavailableError.__name__,
            retry_after=_RETRY_AFTER_SECONDS,
        )


class NewEvents(NamedTuple):
    """The events of an invocation since it was last written.

    Attributes:
        entries: Its new blocks.
        after: Number of the last event before them.
        first_id: Number of the oldest event that is still kept.
        only_text: See `EventLog`.
        typed: See `EventLog`.
    """

    entries: list[Entry]
    after: int
    first_id: int
    only_text: bool
    typed: bool


class Reading(NamedTuple):
    """An invocation, as read from the store by another process.

    Attributes:
        stored: Its state, without its events and its value.
        held: The number of its newest event, and its flags.
        first_id: Number of the oldest event that is kept.
        entries: Blocks of events, as many as were read at once.
    """

    stored: StoredInvocation
    held: HeldEvents
    first_id: int
    entries: list[Entry]


class RunningHere(Protocol):
    """What other processes may do with invocations that run in this one; see `remote_invocation.RemoteReaders`."""

    def cancel_running(self, invocation_id: str) -> None:
        """Cancel it, if it runs here."""

    def note_reader(self, invocation_id: str, reader: str, position: int | None) -> None:
        """Record that `reader`, in another process, was sent all events up to a number, or has left (None)."""

    def forget_readers(self, prefix: str) -> None:
        """Record that all readers have left whose names begin with `prefix`."""


class SharedStore(InvocationStore, Protocol):
    """A store that other processes use too: they can find, read and cancel what runs here, and the other way round."""

    async def append(self, stored: StoredInvocation, new: NewEvents) -> int:
        """Store new events of a running invocation, and its state.

        Returns:
            Number of the last stored event; less than before if the store has lost some, and `LOST` if another
            process has ended the invocation.
        """

    def finish_later(self, stored: StoredInvocation) -> None:
        """Store a finished invocation when the store can be used again, so that all processes return the same."""

    async def read(self, invocation_id: str, after: int, most: int) -> Reading | None:
        """Return an invocation with at most `most` blocks, beginning with the one that has the event after `after`.

        Raises:
            RefusedError: The process where it should run refused it.
        """

    def watch(self, invocation_id: str) -> Watch:
        """Return a reader of an invocation that runs in another process."""

    async def cancel(self, invocation_id: str) -> None:
        """Request a cancel from the process where it runs. Returns when the request is stored."""

    async def tell(self, invocation_id: str, kind: str, reader: str = "", position: int = 0) -> None:
        """Send a message to the process where it runs.

        Args:
            invocation_id: Which one.
            kind: `read`, `left` or `cancel`.
            reader: The name of the reader in this process.
            position: Number of the last event that it was sent.
        """


class News:
    """Events that are set when there is news of an invocation of another process."""

    def __init__(self) -> None:
        self._waiting: dict[str, set[asyncio.Event]] = {}

    def __bool__(self) -> bool:
        return bool(self._waiting)

    def of(self, invocation_id: str) -> asyncio.Event:
        """Return an event that is set whenever there is news of an invocation."""
        event = asyncio.Event()
        self._waiting.setdefault(invocation_id, set()).add(event)
        return event

    def forget(self, invocation_id: str, event: asyncio.Event) -> None:
        """Stop setting an event of `of`."""
        waiting = self._waiting.get(invocation_id, set())
        waiting.discard(event)
        if not waiting:
            self._waiting.pop(invocation_id, None)

    def tell(self, invocation_id: str) -> None:
        """Set the events of one invocation."""
        for event in self._waiting.get(invocation_id, ()):
            event.set()

    def tell_all(self) -> None:
        """Set all events."""
        for invocation_id in self._waiting:
            self.tell(invocation_id)


class Watch:
    """One reader of an invocation that runs in another process.

    Args:
        store: The store.
        news: Where the store reports news.
        invocation_id: Which one.
        reader: Its name: that of this process, a slash and a number.
    """

    def __init__(self, store: SharedStore, news: News, invocation_id: str, reader: str) -> None:
        self._store = store
        self._all_news = news
        self._id = invocation_id
        self._reader = reader
        self._news = news.of(invocation_id)

    async def tell(self, position: int) -> None:
        """Report to the process where it runs up to where this reader has read, so that the producer waits for it."""
        await self._store.tell(self._id, "read", self._reader, position)

    def wake(self) -> None:
        """Let `wait` return."""
        self._news.set()

    async def wait(self, seconds: float) -> None:
        """Wait until there is news of the invocation, for `seconds` at most."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds)
        self._news.clear()

    async def close(self) -> None:
        """Report to that process that this reader has left."""
        self._all_news.forget(self._id, self._news)
        await self._store.tell(self._id, "left", self._reader)
