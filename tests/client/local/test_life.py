"""How long sandboxes live, how they sleep, and how they end by themselves."""

from __future__ import annotations

import os
import signal
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ppio_agent_client.local import lifecycle
from ppio_agent_client.local.directory import MAX_LOG_BYTES
from ppio_agent_models import SandboxGoneError

from .support import Place, answers, ask, eventually, lives, state_of


def remaining_seconds(expires_at: datetime | None) -> float:
    assert expires_at is not None
    return (expires_at - datetime.now(UTC)).total_seconds()


@pytest.mark.contract
def test_a_sandbox_ends_at_its_time_and_may_drain(place: Place) -> None:
    sandbox = place.create()
    place.store.extend(sandbox.sandbox_id, 0.2)
    ended = place.ended(sandbox.sandbox_id)
    assert (ended.state, ended.exit_code, ended.output) == ("ended", 0, "hello\nasked to end\ndrained")


@pytest.mark.contract
@pytest.mark.slow
def test_an_agent_that_does_not_end_when_asked_is_killed_with_its_children(place: Place) -> None:
    sandbox = place.create()
    ask(sandbox, "refuse-to-end")
    child = ask(sandbox, "spawn")["pid"]
    place.store.extend(sandbox.sandbox_id, 0.1)
    assert place.ended(sandbox.sandbox_id).exit_code == -9
    assert not lives(child)


@pytest.mark.contract
def test_a_draining_sandbox_is_no_longer_living(place: Place) -> None:
    sandbox = place.create()
    ask(sandbox, "refuse-to-end")
    place.store.extend(sandbox.sandbox_id, 0.1)
    eventually(lambda: place.record(sandbox.sandbox_id)["state"] == "terminating")
    shown = place.store.get(sandbox.sandbox_id)
    assert shown is not None
    assert (shown.state, shown.exit_code) == ("ended", None)
    assert place.store.find("a session") is None
    assert place.store.list_sandboxes() == []
    assert place.store.create(place.spec()).created


@pytest.mark.contract
def test_kill_does_not_wait_for_a_drain_and_does_not_claim_it(place: Place) -> None:
    sandbox = place.create()
    ask(sandbox, "refuse-to-end")
    place.store.extend(sandbox.sandbox_id, 0.1)
    eventually(lambda: place.record(sandbox.sandbox_id)["state"] == "terminating")
    agent = place.agent_pid(sandbox.sandbox_id)
    assert place.store.kill(sandbox.sandbox_id) is False
    assert not lives(agent)


@pytest.mark.contract
def test_extend_counts_from_now(place: Place) -> None:
    sandbox = place.create(life=30)
    extended = place.store.extend(sandbox.sandbox_id, 5000)
    assert 4000 < remaining_seconds(extended.expires_at) <= 5000
    assert place.store.get(sandbox.sandbox_id) == extended


@pytest.mark.contract
def test_extend_keeps_a_sandbox_over_its_first_time(place: Place) -> None:
    short = place.create("short", life=600)
    long = place.create("long", life=600)
    place.store.extend(short.sandbox_id, 0.5)
    place.store.extend(long.sandbox_id, 0.5)
    place.store.extend(long.sandbox_id, 600)
    place.ended(short.sandbox_id)
    assert answers(long)


@pytest.mark.contract
def test_a_crash_is_told_with_exit_code_and_last_lines(place: Place) -> None:
    (place.template / "main.py").write_text("for n in range(50): print('line', n)\nraise RuntimeError('no ключ')\n")
    sandbox = place.store.create(place.spec())
    ended = place.ended(sandbox.sandbox_id)
    lines = ended.output.splitlines()
    assert (ended.state, ended.exit_code) == ("ended", 1)
    assert lines[-1] == "RuntimeError: no ключ"
    assert "line 49" in lines
    assert len(lines) == 20


@pytest.mark.contract
def test_an_exit_code_is_kept_as_it_is(place: Place) -> None:
    sandbox = place.create()
    ask(sandbox, "leave", code=42)
    assert place.ended(sandbox.sandbox_id).exit_code == 42


@pytest.mark.contract
def test_children_of_a_crashed_agent_end_with_it(place: Place) -> None:
    sandbox = place.create()
    children = [ask(sandbox, "spawn")["pid"], ask(sandbox, "spawn", own_session=1)["pid"]]
    ask(sandbox, "leave", code=1)
    place.ended(sandbox.sandbox_id)
    assert [pid for pid in children if lives(pid)] == []


@pytest.mark.contract
def test_an_orphan_of_a_living_agent_is_reaped_when_it_ends(place: Place) -> None:
    sandbox = place.create()
    child = ask(sandbox, "abandon")["pid"]
    os.kill(child, signal.SIGKILL)
    eventually(lambda: not Path(f"/proc/{child}").exists())
    assert answers(sandbox)


@pytest.mark.contract
def test_the_output_is_at_most_eight_kibibytes(place: Place) -> None:
    sandbox = place.create()
    for _ in range(5):
        ask(sandbox, "say", text="ü", times=4096)
    place.store.kill(sandbox.sandbox_id)
    ended = place.store.get(sandbox.sandbox_id)
    assert ended is not None
    assert 8000 < len(ended.output.encode()) <= 8192
    assert set(ended.output) <= {"ü", "\n"}


def test_the_log_of_a_talkative_agent_stays_bounded(place: Place) -> None:
    sandbox = place.create()
    log = place.directory(sandbox.sandbox_id) / "agent.log"
    ask(sandbox, "say", text="0123456789abcdef\n", times=MAX_LOG_BYTES // 10)
    place.store.extend(sandbox.sandbox_id, 600)  # Wakes the supervisor, as its own timer would later.
    eventually(lambda: log.stat().st_size <= MAX_LOG_BYTES)
    ask(sandbox, "say", text="the end")
    assert log.read_text().startswith("[earlier output was dropped]\n0123")
    assert log.read_text().endswith("\nthe end\n")


@pytest.mark.contract
def test_pause_stops_the_agent_and_its_children(place: Place) -> None:
    sandbox = place.create()
    child = ask(sandbox, "spawn")["pid"]
    paused = place.store.pause(sandbox.sandbox_id)
    assert (paused.state, paused.expires_at) == ("paused", None)
    for pid in (place.agent_pid(sandbox.sandbox_id), child):
        eventually(lambda pid=pid: state_of(pid) == "T")  # type: ignore[misc]


@pytest.mark.contract
def test_resume_lets_them_go_on(place: Place) -> None:
    sandbox = place.create()
    place.store.pause(sandbox.sandbox_id)
    agent = place.agent_pid(sandbox.sandbox_id)
    eventually(lambda: state_of(agent) == "T")
    resumed = place.store.resume(sandbox.sandbox_id)
    assert resumed.state == "running"
    eventually(lambda: answers(sandbox))
    assert place.agent_pid(sandbox.sandbox_id) == agent


@pytest.mark.contract
def test_pause_and_resume_twice_change_nothing_more(place: Place) -> None:
    sandbox = place.create()
    assert place.store.pause(sandbox.sandbox_id) == place.store.pause(sandbox.sandbox_id)
    assert place.store.resume(sandbox.sandbox_id) == place.store.resume(sandbox.sandbox_id)


@pytest.mark.contract
def test_a_paused_sandbox_is_found_and_joined_without_waking_it(place: Place) -> None:
    sandbox = place.create()
    paused = place.store.pause(sandbox.sandbox_id)
    agent = place.agent_pid(sandbox.sandbox_id)
    eventually(lambda: state_of(agent) == "T")
    assert place.store.find("a session") == paused
    assert place.store.list_sandboxes() == [paused]
    assert place.store.create(place.spec()).state == "paused"
    assert state_of(agent) == "T"


@pytest.mark.contract
def test_paused_time_does_not_count(place: Place) -> None:
    sandbox = place.create(life=600)
    place.store.extend(sandbox.sandbox_id, 100)
    place.store.pause(sandbox.sandbox_id)
    rest = place.record(sandbox.sandbox_id)["rest_seconds"]
    assert 0 < rest <= 100
    before = time.time()
    resumed = place.store.resume(sandbox.sandbox_id)
    assert resumed.expires_at is not None
    assert resumed.expires_at.timestamp() >= before + rest


@pytest.mark.contract
def test_a_paused_sandbox_does_not_end_at_the_time_it_had(place: Place) -> None:
    sleeper = place.create("sleeper")
    other = place.create("other")
    place.store.extend(sleeper.sandbox_id, 0.5)
    place.store.pause(sleeper.sandbox_id)
    place.store.extend(other.sandbox_id, 0.5)
    place.ended(other.sandbox_id)
    found = place.store.find("sleeper")
    assert found is not None
    assert found.state == "paused"


@pytest.mark.contract
def test_extending_a_paused_sandbox_sets_the_life_after_its_waking(place: Place) -> None:
    sandbox = place.create(life=10)
    place.store.pause(sandbox.sandbox_id)
    assert place.store.extend(sandbox.sandbox_id, 5000).state == "paused"
    assert remaining_seconds(place.store.resume(sandbox.sandbox_id).expires_at) > 4000


def test_a_sandbox_that_sleeps_too_long_is_ended(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "MAX_PAUSE_SECONDS", 0.2)
    sandbox = place.create()
    place.store.pause(sandbox.sandbox_id)
    assert place.ended(sandbox.sandbox_id).exit_code == -9
    with pytest.raises(SandboxGoneError):
        place.store.resume(sandbox.sandbox_id)


@pytest.mark.contract
def test_a_paused_sandbox_can_be_killed(place: Place) -> None:
    sandbox = place.create()
    child = ask(sandbox, "spawn")["pid"]
    place.store.pause(sandbox.sandbox_id)
    assert place.store.kill(sandbox.sandbox_id) is True
    assert not lives(child)
