"""What every store of invocations promises, whatever keeps them.

Speaks to the stores themselves: over the wire, memory answers before a store is asked.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ppio_agent_runtime.invocations.event_log import HeldEvents
from ppio_agent_runtime.invocations.sqlite_store import SQLiteStore, StoreBounds
from ppio_agent_runtime.invocations.store import Answer, InvocationStore, KeyScope, MemoryStore, StoredInvocation

SCOPE = KeyScope("caller", "session", "key")


def finished(name: str = "a", value: bytes | None = b'"x"', scope: KeyScope | None = SCOPE) -> StoredInvocation:
    envelope = b'{"result":null}'
    block = b'id: 1\ndata: "x"\n\nevent: done\nid: 2\ndata: %b\n\n' % envelope
    return StoredInvocation(
        id=name,
        scope=scope,
        fingerprint=b"\x00digest",
        state="succeeded",
        form="value" if value is not None else "response",
        request_id="r",
        session_id=None,
        created_at=1.5,
        started_at=2.5,
        finished_at=10.0**11,
        answer=Answer(200, envelope, value, [(b"x-a", b"\xe9")], None if value is not None else b"\xff"),
        events=HeldEvents([(1, block)], 2, only_text=True),
    )


@pytest.fixture(params=["memory", "sqlite"])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[InvocationStore]:
    store: InvocationStore = MemoryStore(10, 600, 1 << 20, 1 << 20)
    if request.param == "sqlite":
        store = SQLiteStore(f"sqlite:///{tmp_path}/events.db", StoreBounds(10, 600, 1 << 20))
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("value", [b'"x"', None], ids=["value", "response"])
async def test_what_was_saved_is_found_as_it_was(store: InvocationStore, value: bytes | None) -> None:
    await store.save(finished(value=value))
    assert await store.get("a") == await store.get_by_key(SCOPE) == finished(value=value)


async def test_what_is_saved_again_replaces_what_there_was(store: InvocationStore) -> None:
    await store.save(finished(value=b'"old"'))
    await store.save(finished())
    assert await store.get("a") == finished()


async def test_nothing_is_found_that_is_unknown_deleted_or_not_over(store: InvocationStore) -> None:
    begun = finished("begun")
    begun.finished_at, begun.answer, begun.events = None, None, None
    await store.save(begun)
    await store.save(finished("gone", scope=None))
    await store.delete("gone")
    assert [await store.get(name) for name in ("begun", "gone", "never")] == [None, None, None]
    assert await store.get_by_key(SCOPE) is None


async def test_no_more_are_kept_than_allowed(store: InvocationStore) -> None:
    for number in range(15):
        stored = finished(str(number), scope=None)
        stored.finished_at = 10.0**11 + number
        await store.save(stored)
    assert [await store.get(str(number)) is not None for number in range(15)] == [False] * 5 + [True] * 10
