"""What happens when a client, a creator or a supervisor is killed: nothing is left, nothing innocent is hurt."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_client.local import lifecycle, processes
from ppio_agent_client.local.directory import SandboxDirectory
from ppio_agent_client.local.locks import Lock

from .support import Place, answers, ask, eventually, in_another_process, lives, state_of

CREATE_AND_WAIT = """
import sys, pathlib, time
from ppio_agent_client.local.store import LocalStore
from ppio_agent_client._sandbox import SandboxSpec
home, python, template = sys.argv[1:]
store = LocalStore(pathlib.Path(home), python=python)
print(store.create(SandboxSpec(session_id="s", template_id=template, timeout_seconds=600)).sandbox_id, flush=True)
time.sleep(600)
"""
STOP_AT_THE_LAST_FILE = """
import sys, time

def stop(event, arguments):
    if event == "shutil.copyfile" and arguments[0].endswith("last"):
        print("copying", flush=True)
        time.sleep(600)

sys.addaudithook(stop)
"""


def make_stale(place: Place, sandbox_id: str, **facts: Any) -> None:
    """Write a record as somebody left it whose supervisor is dead."""
    directory = place.directory(sandbox_id)
    record = {**place.record(sandbox_id), **facts}
    os.kill(place.supervisor_pid(sandbox_id), signal.SIGKILL)
    eventually(lambda: not lives(place.supervisor_pid(sandbox_id)))
    SandboxDirectory(str(directory)).write(record)  # type: ignore[arg-type]


def test_a_sandbox_outlives_a_client_that_is_killed(place: Place) -> None:
    client = in_another_process(CREATE_AND_WAIT, str(place.home), str(place.python), str(place.template))
    with client:
        assert client.stdout is not None
        sandbox_id = client.stdout.readline().strip()
        client.kill()
    found = place.store.find("s")
    assert found is not None
    assert found.sandbox_id == sandbox_id
    eventually(lambda: answers(found))


def test_a_sandbox_outlives_the_terminal_of_its_client(place: Place) -> None:
    program = CREATE_AND_WAIT.replace("time.sleep(600)", "")
    client = in_another_process(program, str(place.home), str(place.python), str(place.template))
    with client:
        client.communicate()
    sandbox = place.store.find("s")
    assert sandbox is not None
    supervisor = place.supervisor_pid(sandbox.sandbox_id)
    assert os.getsid(supervisor) not in (os.getsid(0), client.pid)
    assert os.getpgid(place.agent_pid(sandbox.sandbox_id)) == place.agent_pid(sandbox.sandbox_id)


@pytest.mark.contract
def test_the_agent_dies_with_its_supervisor(place: Place) -> None:
    sandbox = place.create()
    agent = place.agent_pid(sandbox.sandbox_id)
    os.kill(place.supervisor_pid(sandbox.sandbox_id), signal.SIGKILL)
    eventually(lambda: not lives(agent))


@pytest.mark.contract
def test_a_stopped_agent_dies_with_its_supervisor(place: Place) -> None:
    sandbox = place.create()
    place.store.pause(sandbox.sandbox_id)
    agent = place.agent_pid(sandbox.sandbox_id)
    eventually(lambda: state_of(agent) == "T")
    os.kill(place.supervisor_pid(sandbox.sandbox_id), signal.SIGKILL)
    eventually(lambda: not lives(agent))


@pytest.mark.contract
@pytest.mark.parametrize("verb", ["list", "create", "get"])
def test_the_next_caller_ends_the_children_of_an_agent_without_supervisor(place: Place, verb: str) -> None:
    sandbox = place.create()
    child = ask(sandbox, "spawn")["pid"]
    os.kill(place.supervisor_pid(sandbox.sandbox_id), signal.SIGKILL)
    eventually(lambda: not lives(place.supervisor_pid(sandbox.sandbox_id)))
    other = place.another_store()
    if verb == "list":
        assert other.list_sandboxes() == []
    elif verb == "create":
        assert other.create(place.spec("a session")).sandbox_id != sandbox.sandbox_id
    shown = other.get(sandbox.sandbox_id)
    assert shown is not None
    assert (shown.state, shown.exit_code, shown.output) == ("ended", -9, "hello")
    assert not lives(child)
    assert not place.directory(sandbox.sandbox_id).exists()


@pytest.mark.contract
def test_a_sandbox_without_supervisor_is_not_found(place: Place) -> None:
    sandbox = place.create()
    os.kill(place.supervisor_pid(sandbox.sandbox_id), signal.SIGKILL)
    eventually(lambda: place.store.find("a session") is None)
    assert place.store.kill(sandbox.sandbox_id) is False


def test_kill_ends_a_supervisor_that_hangs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lifecycle, "TERMINATE_WAIT_SECONDS", 0.2)
    sandbox = place.create()
    child = ask(sandbox, "spawn")["pid"]
    os.kill(place.supervisor_pid(sandbox.sandbox_id), signal.SIGSTOP)
    assert place.store.kill(sandbox.sandbox_id) is True
    assert not lives(child)
    assert place.left_behind() == []


@pytest.mark.contract
def test_a_supervisor_that_is_asked_to_end_lets_its_agent_drain(place: Place) -> None:
    sandbox = place.create()
    os.kill(place.supervisor_pid(sandbox.sandbox_id), signal.SIGTERM)
    ended = place.ended(sandbox.sandbox_id)
    assert (ended.exit_code, ended.output) == (0, "hello\nasked to end\ndrained")


@pytest.mark.contract
def test_a_removed_directory_takes_its_processes_along(place: Place) -> None:
    sandbox = place.create()
    child = ask(sandbox, "spawn")["pid"]
    place.directory(sandbox.sandbox_id).rename(place.home / "elsewhere")
    ask(sandbox, "leave", code=0)
    eventually(lambda: not lives(child))
    eventually(lambda: not place.left_behind())


@pytest.mark.parametrize("same_session", [False, True])
def test_a_process_that_got_a_recycled_id_is_not_killed(place: Place, same_session: bool) -> None:
    sandbox = place.create()
    with subprocess.Popen(["sleep", "600"], start_new_session=True) as innocent:
        started = processes.started_at(innocent.pid)
        assert started is not None
        boot, _, ticks = started.rpartition(" ")
        # As if the agent had been an earlier process of that number, of this boot or of another.
        earlier = f"{boot} {int(ticks) - 1}" if same_session else f"another-boot {ticks}"
        make_stale(
            place,
            sandbox.sandbox_id,
            agent={"pid": innocent.pid, "started": earlier, "session": innocent.pid},
            supervisor={"pid": innocent.pid, "started": earlier},
        )
        assert place.store.kill(sandbox.sandbox_id) is False
        assert place.store.list_sandboxes() == []
        shown = place.store.get(sandbox.sandbox_id)
        assert shown is not None
        assert shown.state == "ended"
        assert innocent.poll() is None
        innocent.kill()


def test_a_group_that_got_a_recycled_number_is_not_killed(place: Place) -> None:
    with subprocess.Popen(["sh", "-c", "sleep 600 & wait"], start_new_session=True) as leader:
        child = eventually(lambda: [each for each in processes.processes() if each.parent == leader.pid])[0]
        agent: Any = {"pid": leader.pid, "started": f"another-boot {10**9}", "session": leader.pid}
        assert processes.kill_group(agent) is True
        assert lives(child.pid)
        os.killpg(leader.pid, signal.SIGKILL)


@pytest.mark.contract
def test_a_directory_of_a_creator_that_was_killed_at_once_is_removed(place: Place) -> None:
    half_made = place.directory("local-0123456789abcdef-20000-01234567")
    half_made.mkdir()
    place.store.list_sandboxes()
    assert not half_made.exists()


@pytest.mark.slow
def test_a_sandbox_of_a_creator_that_was_killed_while_copying_is_removed(place: Place) -> None:
    (place.template / "last").touch()
    program = STOP_AT_THE_LAST_FILE + CREATE_AND_WAIT
    client = in_another_process(program, str(place.home), str(place.python), str(place.template))
    with client:
        assert client.stdout is not None
        assert client.stdout.readline() == "copying\n"
        client.kill()
    [half_made] = (place.home / "sandboxes").iterdir()
    assert place.store.get(half_made.name) is None
    assert place.store.find("s") is None
    assert place.store.list_sandboxes() == []
    assert not half_made.exists()


def test_a_sandbox_that_is_being_made_is_left_alone(place: Place) -> None:
    unfinished = place.directory("local-0123456789abcdef-20000-01234567")
    unfinished.mkdir()
    with Lock(str(unfinished / "lock")):
        place.store.list_sandboxes()
        assert unfinished.exists()
    place.store.list_sandboxes()
    assert not unfinished.exists()


def test_an_agent_whose_creator_died_before_telling_anybody_is_ended(place: Place) -> None:
    sandbox = place.create()
    agent = place.agent_pid(sandbox.sandbox_id)
    record = place.record(sandbox.sandbox_id)
    record["state"] = "creating"
    SandboxDirectory(str(place.directory(sandbox.sandbox_id))).write(record)
    os.kill(place.supervisor_pid(sandbox.sandbox_id), signal.SIGCHLD)  # Wakes it.
    eventually(lambda: not lives(agent))
    eventually(lambda: not place.left_behind())
    assert not place.directory(sandbox.sandbox_id).exists()
    assert place.store.get(sandbox.sandbox_id) is None


@pytest.mark.contract
def test_what_others_did_not_finish_removing_is_removed(place: Place) -> None:
    (place.home / "trash" / "something" / "in it").mkdir(parents=True)
    place.another_store().list_sandboxes()
    assert list((place.home / "trash").iterdir()) == []


@pytest.mark.contract
def test_a_record_that_a_crash_of_the_machine_emptied_stops_nobody(place: Place) -> None:
    broken = place.directory("local-0123456789abcdef-20000-01234567")
    broken.mkdir()
    (broken / "record.json").touch()
    (place.home / "ended" / f"{broken.name}.json").touch()
    assert place.store.get(broken.name) is None
    assert place.create().created


@pytest.mark.contract
def test_a_supervisor_sleeps_between_what_it_has_to_do(place: Place) -> None:
    sandbox = place.create()
    supervisor = place.supervisor_pid(sandbox.sandbox_id)
    eventually(lambda: state_of(supervisor) == "S")

    def ticks() -> int:
        fields = Path(f"/proc/{supervisor}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    before = ticks()
    time.sleep(1)  # Not to wait for something: this is the time in which a busy loop would burn a hundred ticks.
    assert ticks() - before < 20
