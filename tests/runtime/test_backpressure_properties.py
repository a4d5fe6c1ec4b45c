"""Whatever the sizes of the chunks and however its caller reads: a stream is whole, and little waits in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.gates import eventually
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection

pytestmark = pytest.mark.contract

KIB = 1024
LOG_BYTES = 256 * KIB
HELD_BYTES = 12 * 1024 * KIB
"""More than a stream may hold with all that the kernel and the server keep for a connection, far less than it makes."""
LEAST_BYTES = 3 * HELD_BYTES

made: dict[str, int] = {}
"""Characters that the generator of each stream has made so far, by its name."""
URLS: dict[str, str] = {}
NAMES = iter(range(1_000_000))


def sizes_of(payload: dict[str, Any]) -> Iterator[int]:
    """Repeat the sizes until enough was made."""
    left = LEAST_BYTES
    while left > 0:
        for size in payload["sizes"]:
            made[payload["name"]] += size
            left -= size
            yield size


async def in_tasks(payload: dict[str, Any]) -> AsyncIterator[str]:
    for size in sizes_of(payload):
        yield "x" * size


def in_threads(payload: dict[str, Any]) -> Iterator[str]:
    for size in sizes_of(payload):
        yield "x" * size


@pytest.fixture(scope="module", autouse=True)
def agents() -> Iterator[None]:
    with ExitStack() as stack:
        for handler in (in_tasks, in_threads):
            app = PPIOAgentRuntimeApp(AgentConfig(event_log_max_bytes_per_invocation=LOG_BYTES))
            app.entrypoint(handler)
            URLS[handler.__name__] = stack.enter_context(running(app))
        yield


def stands_still(name: str) -> None:
    """Wait until the generator makes no more."""
    before, same = -1, 0

    def is_so() -> bool:
        nonlocal before, same
        same = same + 1 if made[name] == before else 0
        before = made[name]
        return same > 10

    eventually(is_so, "the producer waits")


@pytest.mark.parametrize("headers", [EVENT_STREAM, PROTOCOL_1], ids=["plain", "durable"])
@pytest.mark.parametrize("kind", ["in_tasks", "in_threads"])
@settings(
    max_examples=8,
    deadline=None,
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(
    sizes=st.lists(st.sampled_from([200, 1_000, 5_000, 65_000, 70_000, 300_000, 1_000_000]), min_size=1, max_size=6),
    pauses=st.lists(st.integers(0, LEAST_BYTES // 2), max_size=3),
    buffer_bytes=st.sampled_from([4 * KIB, 64 * KIB, 256 * KIB]),  # the kernel's own choice may be 6 MiB
)
@pytest.mark.slow
def test_a_stream_is_whole_and_never_far_ahead_of_its_reader(
    kind: str, headers: dict[str, str], sizes: list[int], pauses: list[int], buffer_bytes: int
) -> None:
    name = str(next(NAMES))
    made[name] = read = 0
    with Connection(URLS[kind], receive_buffer_bytes=buffer_bytes) as connection:
        connection.post({"name": name, "sizes": sizes}, headers)
        connection.read_head()
        found = []
        left = sorted(pauses)
        for event in connection.events():
            if event.kind != "chunk":
                continue
            found.append(len(event.data))
            read += len(event.data)
            if left and read >= left[0]:
                del left[0]
                stands_still(name)
                assert made[name] - read <= HELD_BYTES
    assert found == (sizes * (LEAST_BYTES // sum(sizes) + 1))[: len(found)]
    assert sum(found) == made[name] >= LEAST_BYTES
