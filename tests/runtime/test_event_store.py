"""The store: what was finished is there after a restart, what was running is told as interrupted."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.support.calls import call, refusal
from tests.support.durable import cancel, chunks, events, finished, resource, submit
from tests.support.gates import eventually
from tests.support.processes import environment
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, invoke, streaming

AGENT = """
import asyncio
import os
import resource
import sys
import time

from starlette.responses import PlainTextResponse

from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp(AgentConfig(event_store="sqlite:///" + sys.argv[1], host="127.0.0.1", port=0))
runs = 0


@app.entrypoint
async def handler(payload: dict):
    global runs
    runs += 1
    match payload.get("do"):
        case "fail":
            raise AgentError("no", status_code=418, error_type="Teapot")
        case "respond":
            return PlainTextResponse("hello", 203)
        case "runs":
            return runs
        case "fill the disk":
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
            return "full"
        case "make room":
            resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        case "fork":
            child = os.fork()
            while not child:
                time.sleep(1)
            return child
        case "big":
            return "x" * 20_000_000
        case "many":
            return many()
    return stream(payload)


async def many():
    for _ in range(30):
        yield "x" * 200_000


async def stream(payload):
    yield "a"
    if payload.get("do") == "slow":
        await asyncio.sleep(2)
    if payload.get("do") == "hang":
        await asyncio.Future()
    yield "b"


app.run()
"""
KEY = {"Idempotency-Key": "k"}
JSON = {"Accept": "application/json"}
INSTANCE = "ppio-agent-instance"


class Agent:
    """A process with the agent above and its store."""

    def __init__(self, program: Path, store: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(program), str(store)], env=environment(), stderr=subprocess.PIPE, text=True
        )
        self.log: list[str] = []
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if "listens on " in line:
                self.url = line.split("listens on ")[1].strip()
                return
        raise AssertionError("".join(self.log))

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> str:
        """End it politely and return the rest of its log."""
        assert self.process.stderr is not None
        self.process.terminate()
        rest = self.process.stderr.read()
        assert self.process.wait() == 0, rest
        return rest


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "agent.py"
    path.write_text(AGENT)
    return path


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "folder" / "events.db"


@contextmanager
def agent(program: Path, store: Path) -> Iterator[Agent]:
    started = Agent(program, store)
    try:
        yield started
    finally:
        started.kill()
        assert started.process.stderr is not None
        started.process.stderr.close()


@pytest.mark.contract
def test_kill_in_the_middle_keeps_the_finished_and_tells_the_running_as_interrupted(program: Path, store: Path) -> None:
    with agent(program, store) as first:
        invoke(first.url, headers=KEY | PROTOCOL_1)
        failed = submit(first.url, {"do": "fail"})
        done, hanging = submit(first.url), submit(first.url, {"do": "hang"}, {"Idempotency-Key": "hanging"})
        before = {path: finished(first.url, path) for path in (failed, done)}
        stream = events(first.url, done).body
        eventually(lambda: resource(first.url, hanging)["last_event_id"] == 1, "it hangs")
        first.kill()
    with agent(program, store) as second:
        url = second.url
        assert {path: resource(url, path) for path in (failed, done)} == before
        assert events(url, done).body == stream
        assert chunks(events(url, done, after=1).events) == ["b"]
        replayed = invoke(url, headers=KEY | JSON)
        assert (replayed.result, replayed.headers["idempotency-replayed"]) == ("ab", "true")
        assert invoke(url, {"do": "other"}, KEY).status == 422
        lost = resource(url, hanging)
        assert (lost["state"], lost["response"]["error_type"]) == ("failed", "Interrupted")
        assert invoke(url, {"do": "hang"}, {"Idempotency-Key": "hanging"}).json["error_type"] == "Interrupted"
        (end,) = events(url, hanging, after=1).events
        assert (end.kind, end.event_id, end.data["error_type"]) == ("error", 2, "Interrupted")
        assert cancel(url, hanging).status == 200
        assert invoke(url, {"do": "runs"}).result == 1


@pytest.mark.contract
def test_polite_restart_keeps_everything_and_a_plain_response_too(program: Path, store: Path) -> None:
    with agent(program, store) as first:
        before = invoke(first.url, {"do": "respond"}, KEY)
        first.stop()
    with agent(program, store) as second:
        after = invoke(second.url, {"do": "respond"}, KEY)
    assert (after.status, after.body) == (before.status, before.body) == (203, b"hello")
    assert after.headers["content-type"] == before.headers["content-type"]


@pytest.mark.contract
@pytest.mark.skipif(sys.platform != "linux", reason="only Linux says when the machine was started")
def test_restart_on_its_file_is_the_same_instance_and_knows_every_call_that_was_made_to_it(
    program: Path, store: Path
) -> None:
    hanging = KEY | PROTOCOL_1 | EVENT_STREAM
    with agent(program, store) as first:
        instance = call(first.url, "/ping", method="GET").headers[INSTANCE]
        with streaming(first.url, {"do": "hang"}, hanging | {INSTANCE: instance}) as connection:
            assert next(connection.events()).data == "a"
            first.kill()
    with agent(program, store) as second:
        again = invoke(second.url, {"do": "hang"}, KEY | {INSTANCE: instance})
        assert again.headers[INSTANCE] == instance
        assert (again.status, again.json["error_type"]) == (500, "Interrupted")
        assert invoke(second.url, {"do": "runs"}).result == 1


@pytest.mark.contract
@pytest.mark.slow
def test_copy_of_a_file_and_a_damaged_one_are_other_instances(program: Path, store: Path) -> None:
    def instance(path: Path) -> str:
        with agent(program, path) as started:
            name = call(started.url, "/ping", method="GET").headers[INSTANCE]
            refusal(invoke(started.url, headers=KEY | {INSTANCE: "of another"}), 412, "OtherInstanceError")
            started.stop()
            return name

    names = [instance(store)]
    copy = store.with_name("copy.db")
    shutil.copy(store, copy)
    names.append(instance(copy))
    content = store.read_bytes()
    store.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    names += [instance(store), instance(store)]
    assert len(set(names)) == 4


@pytest.mark.contract
@pytest.mark.slow
def test_submitted_invocation_is_on_disk_before_its_caller_is_told_202(program: Path, store: Path) -> None:
    for _ in range(5):
        with agent(program, store) as first:
            path = submit(first.url, {"do": "hang"})
            first.kill()
        with agent(program, store) as second:
            assert resource(second.url, path)["response"]["error_type"] == "Interrupted"


@contextmanager
def locked(store: Path) -> Iterator[None]:
    """Keep every other process from writing."""
    with closing(sqlite3.connect(store, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield


@pytest.mark.contract
@pytest.mark.slow
def test_file_that_another_program_keeps_locked_is_told_and_nothing_durable_begins(program: Path, store: Path) -> None:
    with agent(program, store) as first:
        assert invoke(first.url, {"do": "runs"}).result == 1
        with locked(store):
            refused = invoke(first.url, {"do": "runs"}, KEY)
            refusal(refused, 503, "UnavailableError")
            assert "locked" in refused.json["error"]
            assert "retry-after" in refused.headers
            assert invoke(first.url, {"do": "runs"}).result == 2
        assert invoke(first.url, {"do": "runs"}, KEY).result == 3
        assert "available again" in first.stop()


@pytest.mark.contract
@pytest.mark.slow
def test_end_that_could_not_be_written_is_written_as_soon_as_it_can_be(program: Path, store: Path) -> None:
    with agent(program, store) as first, agent(program, store) as second:
        path = submit(first.url, {"do": "slow"})
        assert resource(second.url, path)["state"] == "running"
        with locked(store):
            eventually(lambda: resource(first.url, path)["state"] == "failed", "its end is withheld")
        eventually(lambda: resource(second.url, path) == resource(first.url, path), "all processes return the same")


@pytest.mark.contract
def test_call_whose_caller_leaves_while_the_file_is_locked_runs_once_at_most(program: Path, store: Path) -> None:
    with agent(program, store) as first:
        assert invoke(first.url, {"do": "runs"}).result == 1
        with locked(store), Connection(first.url) as connection:
            connection.post({"do": "runs"}, KEY | JSON)
            eventually(lambda: call(first.url, "/ping", method="GET").status == 200, "it has been read")
        assert invoke(first.url, {"do": "runs"}, KEY | JSON).result == 2


@pytest.mark.contract
def test_what_dead_processes_leave_beside_the_file_is_removed(program: Path, store: Path) -> None:
    for _ in range(3):
        with agent(program, store) as first:
            submit(first.url, {"do": "hang"})
    with agent(program, store) as last:
        assert invoke(last.url, {"do": "runs"}).result == 1
        assert len([file for file in store.parent.iterdir() if file.suffix == ".db"]) == 1
        assert len(list(store.parent.iterdir())) == 4  # the database, two of its log, and one of the process
        last.stop()
    assert list(store.parent.iterdir()) == [store]


@pytest.mark.contract
@pytest.mark.slow
def test_child_that_outlives_its_process_does_not_make_it_look_alive(program: Path, store: Path) -> None:
    with agent(program, store) as first:
        path = submit(first.url, {"do": "hang"})
        child = invoke(first.url, {"do": "fork"}).result
        first.kill()
    try:
        with agent(program, store) as second:
            assert resource(second.url, path)["response"]["error_type"] == "Interrupted"
    finally:
        os.kill(child, signal.SIGKILL)


@pytest.mark.contract
@pytest.mark.parametrize("do", ["big", "many"])
@pytest.mark.parametrize("headers", [JSON, EVENT_STREAM | PROTOCOL_1], ids=["value", "stream"])
@pytest.mark.slow
def test_answer_leaves_only_when_a_kill_cannot_lose_it(
    program: Path, store: Path, do: str, headers: dict[str, str]
) -> None:
    with agent(program, store) as first, Connection(first.url) as connection:
        connection.post({"do": do}, KEY | headers)
        assert connection.read_head()[0] == 200
        assert headers is JSON or list(connection.events())[-1].kind == "done"
        first.kill()
    with agent(program, store) as second:
        again = invoke(second.url, {"do": do}, KEY | JSON)
    assert len(again.result) == (20_000_000 if do == "big" else 6_000_000)
    assert again.headers["idempotency-replayed"] == "true"


@pytest.mark.contract
def test_full_disk_is_told_and_nothing_durable_is_answered_or_begun_until_there_is_room(
    program: Path, store: Path
) -> None:
    with agent(program, store) as first:
        url = first.url
        withheld = invoke(url, {"do": "fill the disk"}, KEY)
        assert "the event store could not store the result" in refusal(withheld, 500, "InvocationError")
        assert invoke(url, {"do": "fill the disk"}, KEY).body == withheld.body
        refused = invoke(url, {"do": "runs"}, {"Idempotency-Key": "other"})
        assert "nothing was started" in refusal(refused, 503, "UnavailableError")
        assert "retry-after" in refused.headers
        assert invoke(url, {"do": "runs"}, {"Prefer": "respond-async"}).status == 503
        ping = call(url, "/ping", method="GET")
        assert (ping.status, ping.json["status"]) == (200, "Healthy")
        assert ping.json["message"].startswith("degraded: the event store cannot be used (")
        assert invoke(url, {"do": "runs"}).result == 2
        invoke(url, {"do": "make room"})
        assert invoke(url, {"do": "runs"}, {"Idempotency-Key": "other"}).result == 4
        assert call(url, "/ping", method="GET").json["message"] is None
        log = first.stop()
    assert log.count("cannot be used: ") == 1
    assert log.count("is available again") == 1


@pytest.mark.contract
def test_damaged_database_is_told_and_the_agent_works_on_without_it(program: Path, store: Path) -> None:
    with agent(program, store) as first:
        invoke(first.url, headers=KEY)
        first.stop()
    content = store.read_bytes()
    store.write_bytes(content[:100] + b"\xff" * (len(content) - 100))
    with agent(program, store) as second:
        assert call(second.url, "/ping", method="GET").json["message"].startswith("degraded: the event store")
        refusal(invoke(second.url, headers=KEY), 503, "UnavailableError")
        assert invoke(second.url, {"do": "runs"}).result == 1
        log = "".join(second.log) + second.stop()
    assert log.count("The event store") == 1
    assert store.read_bytes()[100:] == b"\xff" * (len(content) - 100)
