"""Records that survive the process: the ledger's second shelf, on disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._event_store import EventStore, StoredInvocation
from ._record import Answer, Record, Scope

if TYPE_CHECKING:
    from collections.abc import Callable

    from ._config import AgentConfig
    from ._event_log import EventLog


class Archive:
    """The durable invocations of one app on disk.

    Args:
        config: Names the database and its bounds.
        new_log: Makes an empty log for a record that is read back.

    Raises:
        ConfigurationError: The database cannot be used.
    """

    def __init__(self, config: AgentConfig, new_log: Callable[[], EventLog]) -> None:
        assert config.event_store is not None
        self._new_log = new_log
        self._store = EventStore(
            config.event_store,
            max_invocations=config.event_log_max_invocations,
            max_age_seconds=config.event_log_max_age_seconds,
        )

    def save(self, record: Record) -> None:
        """Write a record as it is now. Returns at once."""
        self._store.save(_row(record))

    def drop(self, record: Record) -> None:
        """Forget a record. Returns at once."""
        self._store.drop(record.invocation_id)

    async def find(self, invocation_id: str) -> Record | None:
        """Return the finished record of this id."""
        return self._restored(await self._store.find(invocation_id))

    async def find_by_key(self, scope: Scope) -> Record | None:
        """Return the finished record that was asked for under this idempotency key."""
        return self._restored(await self._store.find_by_key(*scope))

    def close(self) -> None:
        """Write what is waiting and close the database."""
        self._store.close()

    def _restored(self, row: StoredInvocation | None) -> Record | None:
        # A row without an end belongs to a record that runs, or has just finished, in this process.
        return None if row is None or row.finished_at is None else _record(row, self._new_log())


def _row(record: Record) -> StoredInvocation:
    """Return what the database keeps of a record: all of it, but of a Starlette response only the status."""
    answer = record.answer
    caller, session, key = record.scope or (None, None, None)
    first_id, events = record.log.held_events() if record.is_over else (1, [])
    return StoredInvocation(
        id=record.invocation_id,
        caller=caller,
        session=session,
        key=key,
        fingerprint=record.fingerprint,
        state=record.state,
        created_at=record.created_at,
        started_at=record.started_at,
        finished_at=record.finished_at,
        request_id=record.request_id,
        session_id=record.session_id,
        status=None if answer is None else answer.status,
        closing=None if answer is None else answer.closing,
        result=None if answer is None else answer.result,
        headers=[] if answer is None else answer.headers,
        only_text=record.log.only_text,
        first_id=first_id,
        events=events,
    )


def _record(row: StoredInvocation, log: EventLog) -> Record:
    assert row.status is not None
    assert row.closing is not None
    record = Record(
        row.id,
        log,
        request_id=row.request_id,
        session_id=row.session_id,
        window_seconds=None,
        scope=None if row.key is None else (row.caller or "", row.session or "", row.key),
        fingerprint=row.fingerprint,
    )
    log.restore(row.events, row.first_id, only_text=row.only_text)
    record.restore(
        row.state,
        Answer(row.status, row.closing, row.result, row.headers),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
    return record
