"""The interface between processes that share a store: each can find, read and cancel invocations of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ppio_agent_models import UnavailableError

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
