"""What the settings of a store in SQLite say: how much is kept, where, and what cannot be used."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.durable import finished, submit
from tests.support.gates import Count, Gate, eventually, opening
from tests.support.raw_http import invoke

KEY = {"Idempotency-Key": "k"}


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
        app._services.invocations.durable._memory._by_id.clear()
        app._services.invocations.durable._memory._by_key.clear()
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
    (count,) = database.execute("SELECT count(*) FROM invocations").fetchone()
    (size,) = database.execute("SELECT sum(length(block)) FROM events").fetchone()
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
        eventually(lambda: len(app._services.invocations.in_flight) == 1, "it runs")
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
@pytest.mark.parametrize("url", ["sqlite://x.db", "events.db", "sqlite:///", "postgres://x"])
def test_wrong_url_fails_when_the_app_is_made(url: str) -> None:
    with pytest.raises(ConfigurationError, match=r"event_store must be 'sqlite:///path' or 'redis://host:port/0'"):
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
            await app._services.invocations.durable.__aenter__()

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

    assert {"events.db", "events.db-wal", "events.db-shm"} < modes.keys()  # and one of the process
    assert set(modes.values()) == {0o600}
    assert [file.name for file in tmp_path.iterdir()] == ["events.db"]


@pytest.mark.contract
def test_making_an_app_touches_no_file(tmp_path: Path) -> None:
    PPIOAgentRuntimeApp(AgentConfig(event_store=f"sqlite:///{tmp_path}/folder/events.db"))
    assert not (tmp_path / "folder").exists()
