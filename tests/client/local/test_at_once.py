"""Many callers at once: one sandbox per session, one port each, one winner per verb, nothing left in the caller."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from .support import Place, answers, ask, eventually, in_another_process

T = TypeVar("T")

CREATE_AT_A_SIGN = """
import sys, pathlib
from ppio_agent_client.local.store import LocalStore
from ppio_agent_client._sandbox import SandboxSpec
home, python, template = sys.argv[1:]
store = LocalStore(pathlib.Path(home), python=python)
print("ready", flush=True)
sys.stdin.readline()
sandbox = store.create(SandboxSpec(session_id="s", template_id=template, timeout_seconds=600))
print(sandbox.sandbox_id, sandbox.created, flush=True)
"""


def all_at_once(count: int, work: Callable[[int], T]) -> list[T]:
    """Do the same thing in so many threads, which start together."""
    barrier = threading.Barrier(count)

    def start(number: int) -> T:
        barrier.wait()
        return work(number)

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(start, range(count)))


@pytest.mark.contract
def test_twenty_threads_make_one_sandbox_of_one_session(place: Place) -> None:
    sandboxes = all_at_once(20, lambda _: place.another_store().create(place.spec("s")))
    assert len({sandbox.sandbox_id for sandbox in sandboxes}) == 1
    assert [sandbox.created for sandbox in sandboxes].count(True) == 1
    assert len(place.store.list_sandboxes()) == 1


@pytest.mark.slow
def test_eight_processes_make_one_sandbox_of_one_session(place: Place) -> None:
    arguments = (str(place.home), str(place.python), str(place.template))
    clients = [in_another_process(CREATE_AT_A_SIGN, *arguments) for _ in range(8)]
    for client in clients:
        assert client.stdout is not None
        assert client.stdout.readline() == "ready\n"
    for client in clients:
        assert client.stdin is not None
        client.stdin.write("\n")
        client.stdin.flush()
    said = [client.communicate()[0].split() for client in clients]
    assert len({sandbox_id for sandbox_id, _ in said}) == 1
    assert sorted(created for _, created in said) == ["False"] * 7 + ["True"]
    assert len(place.store.list_sandboxes()) == 1


@pytest.mark.contract
def test_twenty_sandboxes_side_by_side_have_twenty_ports(place: Place) -> None:
    sandboxes = all_at_once(20, lambda number: place.store.create(place.spec(f"s{number}")))
    assert len({sandbox.url for sandbox in sandboxes}) == 20
    for sandbox in sandboxes:
        eventually(lambda sandbox=sandbox: answers(sandbox))  # type: ignore[misc]
        assert ask(sandbox, "facts")["environment"]["PPIO_AGENT_PORT"] == sandbox.url.rpartition(":")[2]
    assert len(place.store.list_sandboxes()) == 20


@pytest.mark.contract
def test_one_of_many_killers_is_told_that_it_was_the_one(place: Place) -> None:
    sandbox = place.create()
    assert sorted(all_at_once(8, lambda _: place.another_store().kill(sandbox.sandbox_id))) == [False] * 7 + [True]


@pytest.mark.contract
def test_pauses_and_wakings_at_once_leave_a_sandbox_that_works(place: Place) -> None:
    sandbox = place.create()
    verbs = (place.store.pause, place.store.resume)
    all_at_once(10, lambda number: [verbs[number % 2](sandbox.sandbox_id) for _ in range(20)])
    assert place.store.resume(sandbox.sandbox_id).state == "running"
    eventually(lambda: answers(sandbox))


@pytest.mark.contract
def test_a_caller_keeps_neither_descriptors_nor_children(place: Place) -> None:
    place.store.kill(place.create().sandbox_id)
    before = len(list(Path("/proc/self/fd").iterdir())), children()
    for number in range(3):
        sandbox = place.store.create(place.spec(f"s{number}"))
        place.store.pause(sandbox.sandbox_id)
        place.store.kill(sandbox.sandbox_id)
    assert (len(list(Path("/proc/self/fd").iterdir())), children()) == before


def children() -> set[str]:
    """Return the ids of this process's children, zombies included."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(path.parent.name)
    return found
