"""The store: what was finished is there after a restart, what was running is told as interrupted."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.durable import cancel, chunks, events, finished, resource, submit
from tests.support.gates import Count, Gate, eventually, opening
from tests.support.processes import environment
from tests.support.raw_http import PROTOCOL_1, invoke

AGENT = """
import asyncio
import resource
import sys

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
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
            return "full"
        case "big":
            return "x" * 100_000
    return stream(payload)


async def stream(payload):
    yield "a"
    if payload.get("do") == "hang":
        await asyncio.Future()
    yield "b"


app.run()
"""
KEY = {"Idempotency-Key": "k"}
JSON = {"Accept": "application/json"}


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
def test_submitted_invocation_is_on_disk_before_its_caller_is_told_202(program: Path, store: Path) -> None:
    for _ in range(5):
        with agent(program, store) as first:
            path = submit(first.url, {"do": "hang"})
            first.kill()
        with agent(program, store) as second:
            assert resource(second.url, path)["response"]["error_type"] == "Interrupted"


@pytest.mark.contract
def test_second_process_on_the_same_file_fails_at_start_and_says_why(program: Path, store: Path) -> None:
    with agent(program, store) as first:
        path = submit(first.url, {"do": "hang"})
        second = subprocess.run(
            [sys.executable, str(program), str(store)],
            env=environment(),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert second.returncode == 1
        assert "another process uses it" in second.stderr
        assert resource(first.url, path)["state"] == "running"


@pytest.mark.contract
def test_full_disk_is_logged_once_and_does_not_break_invocations(program: Path, store: Path) -> None:
    with agent(program, store) as first:
        assert invoke(first.url, {"do": "fill the disk"}, KEY).result == "full"
        for number in range(5):
            answer = invoke(first.url, {"do": "big"}, {"Idempotency-Key": str(number)})
            assert len(answer.result) == 100_000
            assert invoke(first.url, {"do": "big"}, {"Idempotency-Key": str(number)}).body == answer.body
        log = first.stop()
    assert log.count("The event store failed") == 1


def test_store_keeps_what_memory_has_let_go(tmp_path: Path) -> None:
    runs = Count()
    config = AgentConfig(event_store=f"sqlite:///{tmp_path}/events.db", event_log_max_bytes=64 * 1024)
    app = PPIOAgentRuntimeApp(config)

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> str:
        runs.add()
        return "x" * int(payload["size"])

    with running(app) as url:
        first = invoke(url, {"size": 40_000}, KEY)
        invoke(url, {"size": 10}, {"Idempotency-Key": "other"})
        app._services.invocations._memory._by_id.clear()
        app._services.invocations._memory._by_key.clear()
        assert invoke(url, {"size": 40_000}, KEY).body == first.body
    assert runs.value == 2


@pytest.mark.contract
def test_store_is_bounded_in_count_and_bytes(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    config = AgentConfig(event_store=f"sqlite:///{path}", event_log_max_invocations=50, event_log_max_bytes=512 * 1024)
    app = PPIOAgentRuntimeApp(config)

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> AsyncIterator[str]:
        yield "x" * payload["size"]

    with running(app) as url:
        for _ in range(100):
            finished(url, submit(url, {"size": 10}))
        for _ in range(100):
            finished(url, submit(url, {"size": 50_000}))
    database = sqlite3.connect(path)
    (count, size) = database.execute("SELECT count(*), sum(length(events)) FROM invocations").fetchone()
    database.close()
    assert 0 < count <= 50
    assert size <= 512 * 1024
    assert path.stat().st_size < 4 * 1024 * 1024


def test_refused_invocation_is_not_in_the_store(tmp_path: Path) -> None:
    gate = Gate()
    path = tmp_path / "events.db"
    app = PPIOAgentRuntimeApp(AgentConfig(event_store=f"sqlite:///{path}", max_concurrency=1))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> None:
        await gate.passed()

    with opening(gate), running(app) as url:
        submit(url)
        eventually(lambda: app._services.invocations.running == 1, "it runs")
        refusal(invoke(url, headers=KEY), 503, "UnavailableError")
        gate.open()
    database = sqlite3.connect(path)
    (count,) = database.execute("SELECT count(*) FROM invocations").fetchone()
    database.close()
    assert count == 1


@pytest.mark.contract
@pytest.mark.parametrize("isolated", [False, True], ids=["", "isolated"])
def test_store_of_an_app_whose_lifespan_nobody_runs_is_opened_when_it_is_needed(tmp_path: Path, isolated: bool) -> None:
    from fastapi import FastAPI

    path = tmp_path / "events.db"
    inner = PPIOAgentRuntimeApp(AgentConfig(event_store=f"sqlite:///{path}", isolate_handlers=isolated))

    @inner.entrypoint
    async def handler(payload: dict[str, Any]) -> str:
        return "ok"

    outer = PPIOAgentRuntimeApp()

    @outer.entrypoint
    async def unused(payload: dict[str, Any]) -> None: ...

    fastapi: FastAPI = outer.fastapi
    fastapi.mount("/inner", inner)
    with running(outer) as url:
        answer = call(url, "/inner/invocations", body=b"{}", headers={"Prefer": "respond-async"})
        location = answer.headers["location"]
        assert location.startswith("/inner/invocations/")
        assert call(url, f"{location}?wait=60", method="GET").json["state"] == "succeeded"
        assert path.exists()


@pytest.mark.contract
@pytest.mark.parametrize("url", ["sqlite://x.db", "events.db", "sqlite:///", "redis://x"])
def test_wrong_url_fails_when_the_app_is_made(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"event_store must be 'sqlite:///path'"):
        PPIOAgentRuntimeApp(AgentConfig(event_store=url))


@pytest.mark.contract
@pytest.mark.parametrize("content", [b"this is no database" * 100, None], ids=["other file", "folder"])
def test_file_that_is_no_database_fails_at_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "events.db"
    path.mkdir() if content is None else path.write_bytes(content)
    app = PPIOAgentRuntimeApp(AgentConfig(event_store=f"sqlite:///{path}"))

    @app.entrypoint
    async def handler(payload: dict[str, Any]) -> None: ...

    with pytest.raises(RuntimeError, match="lifespan failed"), running(app):
        pass


def test_file_of_another_version_fails_at_start(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    database = sqlite3.connect(path)
    database.execute("PRAGMA user_version = 99")
    database.close()

    async def check() -> None:
        app = PPIOAgentRuntimeApp(AgentConfig(event_store=f"sqlite:///{path}"))
        with pytest.raises(ConfigurationError, match="written by another version"):
            await app._services.invocations.__aenter__()

    asyncio.run(check())


@pytest.mark.contract
def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    path.touch(0o644)
    app = PPIOAgentRuntimeApp(AgentConfig(event_store=f"sqlite:///{path}"))
    app.entrypoint(lambda payload: payload)

    with running(app) as url:
        call(url, body=b"{}", headers={"Idempotency-Key": "one"})
        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}

    assert modes == {"events.db": 0o600, "events.db-wal": 0o600}


@pytest.mark.contract
def test_making_an_app_touches_no_file(tmp_path: Path) -> None:
    PPIOAgentRuntimeApp(AgentConfig(event_store=f"sqlite:///{tmp_path}/folder/events.db"))
    assert not (tmp_path / "folder").exists()
