"""What every store of invocations promises, whatever keeps them: one suite for SQLite, Redis and Valkey.

Speaks to the stores themselves: over the wire, memory answers before a store is asked.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from ppio_agent_models import EventsEvictedError
from ppio_agent_runtime.invocations.redis_store import RedisStore
from ppio_agent_runtime.invocations.sqlite_store import SQLiteStore
from ppio_agent_runtime.invocations.store import InvocationStore, KeyScope, StoreBounds
from tests.support.redis_server import SERVERS, redis_server
from tests.support.stored import SCOPE, NothingRuns, begun, finished


@pytest.fixture(scope="module")
def addresses(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """Yield the address of each server that is installed."""
    pytest.importorskip("redis", reason="the extra [redis] is not installed")
    with ExitStack() as stack:
        yield {
            program: stack.enter_context(redis_server(tmp_path_factory.mktemp(program), program=program)).uri
            for program in SERVERS
        }


@pytest.fixture(params=["sqlite", *SERVERS])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[InvocationStore]:
    bounds = StoreBounds(10, 600, 1 << 20)
    store: InvocationStore
    if request.param == "sqlite":
        store = SQLiteStore(f"sqlite:///{tmp_path}/events.db", bounds, NothingRuns())
    else:
        uri = request.getfixturevalue("addresses")[request.param]
        store = RedisStore(f"{uri}?prefix={uuid.uuid4().hex}", bounds, NothingRuns())
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("value", [b'"x"', None], ids=["value", "response"])
async def test_what_was_finished_is_found_as_it_was(store: InvocationStore, value: bytes | None) -> None:
    assert await store.begin(begun()) is None
    assert await store.finish(finished(value=value)) is None
    assert await store.get("a") == await store.get_by_key(SCOPE) == finished(value=value)


async def test_what_has_begun_is_found_as_it_was(store: InvocationStore) -> None:
    assert await store.begin(begun()) is None
    assert await store.get("a") == await store.get_by_key(SCOPE) == begun()


@pytest.mark.parametrize("is_over", [False, True], ids=["running", "over"])
async def test_key_is_given_once(store: InvocationStore, is_over: bool) -> None:
    await store.begin(begun())
    if is_over:
        await store.finish(finished())
    assert await store.begin(begun("b")) == await store.get("a")
    assert await store.get("b") is None
    other = KeyScope("caller", "session", "other")
    assert await store.begin(begun("c", other)) is None
    assert await store.begin(begun("d", None)) is None
    assert await store.begin(begun("e", None)) is None


async def test_beginning_again_after_a_lost_answer_is_the_same_beginning(store: InvocationStore) -> None:
    await store.begin(begun("a", None))
    assert await store.begin(begun("a", None)) is None


async def test_nothing_is_found_that_is_unknown_or_deleted(store: InvocationStore) -> None:
    await store.begin(begun("begun"))
    await store.delete("begun")
    await store.begin(begun("gone"))
    await store.finish(finished("gone"))
    await store.delete("gone")
    await store.delete("never")
    assert [await store.get(name) for name in ("begun", "gone", "never")] == [None, None, None]
    assert await store.get_by_key(SCOPE) is None
    assert await store.begin(begun("next")) is None


async def test_refused_invocation_gives_its_key_back(store: InvocationStore) -> None:
    await store.begin(begun())
    await store.finish(finished(scope=None))
    assert await store.get_by_key(SCOPE) is None
    assert await store.begin(begun("b")) is None
    assert await store.get("a") == finished(scope=None)


async def test_no_more_are_kept_than_allowed(store: InvocationStore) -> None:
    for number in range(15):
        stored = finished(str(number), scope=KeyScope("caller", "session", str(number)))
        stored.finished_at = 10.0**11 + number
        await store.begin(begun(stored.id, stored.scope))
        await store.finish(stored)
    assert [await store.get(str(number)) is not None for number in range(15)] == [False] * 5 + [True] * 10
    assert await store.get_by_key(KeyScope("caller", "session", "5")) is not None


async def test_key_of_what_had_to_make_room_for_others_is_not_given_again(store: InvocationStore) -> None:
    await store.begin(begun())
    await store.finish(finished())
    for number in range(10):
        stored = finished(str(number), scope=None)
        stored.finished_at = 10.0**11 + 1 + number
        await store.begin(begun(stored.id, None))
        await store.finish(stored)
    assert await store.get("a") is None
    for asking in (store.get_by_key(SCOPE), store.begin(begun("b"))):
        with pytest.raises(EventsEvictedError, match="may have run"):
            await asking
    assert await store.get("b") is None


async def test_no_more_bytes_are_kept_than_allowed(store: InvocationStore) -> None:
    for number in range(5):
        stored = finished(str(number), value=None, scope=None)
        stored.finished_at = 10.0**11 + number
        assert stored.answer is not None
        stored.answer = replace(stored.answer, body=bytes(300_000))
        await store.begin(begun(stored.id, None))
        await store.finish(stored)
    assert [await store.get(str(number)) is not None for number in range(5)] == [False] * 2 + [True] * 3


async def test_what_runs_is_kept_whatever_else_is(store: InvocationStore) -> None:
    await store.begin(begun("running", None))
    for number in range(15):
        await store.begin(begun(str(number), None))
        await store.finish(finished(str(number), scope=None))
    assert await store.get("running") == begun("running", None)
