"""Nothing runs twice, whatever happens to the processes. `python -m tests.bench.torture` does it for longer."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.bench.torture import Store, torture
from tests.support.redis_server import needs_redis_server

SECONDS = 30.0
ROUNDS = 4
"""On a slow machine, not everything happens in each."""
WANTED = ("kills", "drains", "pauses", "cuts", "restarts", "repeats", "resumes")


@pytest.mark.timeout(480)
@pytest.mark.parametrize("store", ["none", "sqlite", pytest.param("redis", marks=needs_redis_server)])
@pytest.mark.slow
def test_replicas_that_are_killed_drained_paused_and_cut_off_run_nothing_twice(tmp_path: Path, store: Store) -> None:
    events, outcomes = Counter[str](), set[str]()
    wanted = {*WANTED, "Redis kills", "Redis pauses"} if store == "redis" else set(WANTED)
    for number in range(ROUNDS):
        seed = random.randrange(1_000_000)
        folder = tmp_path / str(number)
        folder.mkdir()
        figures = torture(SECONDS, seed, folder, store)
        print(f"seed {seed}\n{figures}")  # shown when it fails: `python -m tests.bench.torture --seed` does it again
        figures.check()
        events += figures.events
        outcomes |= {
            "answered" if call.error is None else "may have run" for call in figures.calls if call.may_have_run
        }
        if wanted <= events.keys() and len(outcomes) == 2:
            return
    pytest.fail(f"happened: {events}, {outcomes}; wanted: {wanted}")
