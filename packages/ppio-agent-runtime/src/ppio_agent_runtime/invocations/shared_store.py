"""What processes tell each other that use one store: what one of them runs, the others find, read and cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

from ppio_agent_models import UnavailableError

if TYPE_CHECKING:
    from .kept_log import Entry, HeldEvents
    from .store import StoredInvocation

_RETRY_AFTER_SECONDS: Final = 1.0
LOST: Final = -1
"""What `append` returns for an invocation that was ended by another process."""


class RefusedError(UnavailableError):
    """An invocation was refused in the process where it was to run: nothing was started."""

    def __init__(self) -> None:
        super().__init__(
            "Another replica has refused this invocation before it began, so nothing was started.",
            error_type=UnavailableError.__name__,
            retry_after=_RETRY_AFTER_SECONDS,
        )


class Said(NamedTuple):
    """What an invocation has said since it was last written.

    Attributes:
        entries: Its new blocks.
        after: Number of the last event before them.
        first_id: Number of the oldest event that is still held.
        only_text: See `EventLog`, as for `typed`.
    """

    entries: list[Entry]
    after: int
    first_id: int
    only_text: bool
    typed: bool


class Reading(NamedTuple):
    """An invocation as another process sees it.

    Attributes:
        stored: What is known of it, without its events and its value.
        held: Some of its events, and the number of its newest one.
        first_id: Number of the oldest event that is held.
        entries: Blocks of events, as many as were read at once.
    """

    stored: StoredInvocation
    held: HeldEvents
    first_id: int
    entries: list[Entry]


class RunningHere(Protocol):
    """What other processes want of the invocations that run in this one; see `remote_invocation.RemoteReaders`."""

    def cancel_running(self, invocation_id: str) -> None:
        """Cancel it, if it runs here."""

    def note_reader(self, invocation_id: str, reader: str, position: int | None) -> None:
        """Note that `reader`, in another process, was sent all events up to a number, or has left (None)."""

    def forget_readers(self, prefix: str) -> None:
        """Note that all readers have left whose names begin so."""
