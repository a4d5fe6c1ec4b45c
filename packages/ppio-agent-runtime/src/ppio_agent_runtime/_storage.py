"""Records to rows and back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._event_store import StoredInvocation
from ._record import Answer, Record

if TYPE_CHECKING:
    from ._event_log import EventLog


def stored(record: Record) -> StoredInvocation:
    """Return what the database keeps of a record: all of it, but for a Starlette response, which is only its status."""
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


def restored(row: StoredInvocation, log: EventLog) -> Record:
    """Return the finished record that a row tells of."""
    assert row.status is not None
    assert row.closing is not None
    scope = None if row.key is None else (row.caller or "", row.session or "", row.key)
    record = Record(
        row.id,
        log,
        request_id=row.request_id,
        session_id=row.session_id,
        window_seconds=None,
        scope=scope,
        fingerprint=row.fingerprint,
    )
    log.restore(row.events, row.first_id, only_text=row.only_text)
    record.state, record.created_at, record.started_at = row.state, row.created_at, row.started_at
    record.finished_at = row.finished_at
    record.answer = Answer(row.status, row.closing, row.result, row.headers)
    record.knows_form(is_stream=row.result is None)
    record.over.set_result(None)
    return record
