"""Converts invocations to and from the fields of hashes in Redis."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ..http.sse import chunks_in
from .kept_log import Entry, HeldEvents
from .store import INTERRUPTED, Answer, KeyScope, StoredInvocation, value_in

_ONLY_TEXT, _TYPED = 1, 2


def digest_of(scope: KeyScope | None) -> str:
    """Return the digest of an idempotency key, for the name of a Redis key; empty if there is none."""
    return "" if scope is None else hashlib.sha256(json.dumps(scope).encode()).hexdigest()


def fields_of(stored: StoredInvocation, owner: str) -> list[Any]:
    """Return an invocation without its events as a flat list of field names and values."""
    facts: dict[str, Any] = {
        "owner": owner,
        "key": digest_of(stored.scope) or None,
        "scope": None if stored.scope is None else json.dumps(stored.scope),
        "fingerprint": stored.fingerprint,
        "state": stored.state,
        "form": INTERRUPTED if stored.interrupted else stored.form,
        "request_id": stored.request_id,
        "session_id": stored.session_id,
        "created_at": repr(stored.created_at),
        "started_at": None if stored.started_at is None else repr(stored.started_at),
        "finished_at": None if stored.finished_at is None else repr(stored.finished_at),
    }
    if (answer := stored.answer) is not None:
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers]
        facts |= {"status": answer.status, "envelope": answer.envelope, "headers": json.dumps(headers)}
        facts["body"] = answer.body
    if stored.events is not None:
        facts["flags"] = flags(only_text=stored.events.only_text, typed=stored.events.typed)
    return [part for name, value in facts.items() if value is not None for part in (name, value)]


def flags(*, only_text: bool, typed: bool) -> int:
    """Return both flags as one number."""
    return only_text * _ONLY_TEXT + typed * _TYPED


def stored_from(invocation_id: str, pairs: list[bytes], events: list[tuple[bytes, list[bytes]]]) -> StoredInvocation:
    """Return the invocation that was written with `fields_of`.

    Args:
        invocation_id: Its ID.
        pairs: Names and values.
        events: Entries of its stream, all of them or some.
    """
    found = {name.decode(): value for name, value in zip(pairs[::2], pairs[1::2], strict=True)}

    def text(name: str) -> str | None:
        value = found.get(name)
        return None if value is None else value.decode()

    def moment(name: str) -> float | None:
        value = found.get(name)
        return None if value is None else float(value)

    number = int(found.get("flags", b"1"))
    blocks = [(entry.first_id, entry.block) for entry in entries_from(events)]
    held = HeldEvents(blocks, int(found.get("last", 0)), bool(number & _ONLY_TEXT), bool(number & _TYPED))
    form: Any = text("form")
    answer = None
    if "envelope" in found:
        chunks = chunks_in([block for _, block in blocks])
        headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in json.loads(found["headers"])]
        value = None if not chunks else value_in(chunks, form, typed=held.typed)
        answer = Answer(int(found["status"]), found["envelope"], value, headers, found.get("body"))
    scope, state = text("scope"), text("state")
    return StoredInvocation(
        id=invocation_id,
        scope=None if scope is None else KeyScope(*json.loads(scope)),
        fingerprint=found["fingerprint"],
        state=state,  # type: ignore[arg-type]  # as it was written
        form=None if form == INTERRUPTED else form,
        request_id=text("request_id") or "",
        session_id=text("session_id"),
        created_at=float(found["created_at"]),
        started_at=moment("started_at"),
        finished_at=moment("finished_at"),
        interrupted=form == INTERRUPTED,
        answer=answer,
        events=held,
    )


def entries_from(events: list[tuple[bytes, list[bytes]]]) -> list[Entry]:
    """Return the entries of a Redis stream: its ID is `<first event>-0`, `n` the count, and `b` the block."""
    return [Entry(int(name.partition(b"-")[0]), int(fields[1]), fields[3]) for name, fields in events]
