"""The access log: its records are like any other, its lines are all there and in order, several in one write."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime._engine.context import RequestContext
from ppio_agent_runtime._engine.run import Run
from ppio_agent_runtime._watch.access_log import access_logger, log_access
from ppio_agent_runtime._watch.log_lines import LineHandler
from tests.runtime.test_logging import AGENT, agent_process
from tests.runtime.wire import post


class Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.heard: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record)


class Paper(io.StringIO):
    """Remembers each write."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[str] = []

    def write(self, text: str) -> int:
        self.writes.append(text)
        return len(text)


@contextmanager
def attached(handler: logging.Handler) -> Iterator[None]:
    level = access_logger.level
    access_logger.setLevel(logging.INFO)
    access_logger.addHandler(handler)
    try:
        yield
    finally:
        access_logger.removeHandler(handler)
        access_logger.setLevel(level)


@contextmanager
def paper() -> Iterator[Paper]:
    handler, stream = LineHandler(), Paper()
    handler.setStream(stream)
    logger = logging.getLogger("ppio_agent_runtime")
    propagate, logger.propagate = logger.propagate, False
    logger.addHandler(handler)
    access_logger.setLevel(logging.INFO)
    try:
        yield stream
    finally:
        access_logger.setLevel(logging.NOTSET)
        logger.removeHandler(handler)
        logger.propagate = propagate


def a_run(session: str | None = "s") -> Run:
    nobody: Any = None
    return Run(RequestContext(session_id=session), nobody, nobody)


def test_its_records_have_what_other_records_have() -> None:
    ear = Ear()
    with attached(ear):
        run = a_run()
        log_access(run, "json")
        access_logger.info("ordinary", extra={"mode": "json"})
    quick, ordinary = ear.heard
    differing = {"msg", "args", "message", "lineno", "pathname", "filename", "module", "funcName"}
    moving = {"created", "msecs", "relativeCreated"}
    facts = {"request_id", "session_id", "invocation_id", "duration_seconds", "sent_bytes", "chunks"}
    same = vars(ordinary).keys() - differing - moving - facts
    assert vars(quick).keys() - facts == vars(ordinary).keys() - facts
    assert {name: vars(quick)[name] for name in same} == {name: vars(ordinary)[name] for name in same}
    assert 0 <= ordinary.created - quick.created < 60
    assert abs((ordinary.relativeCreated - quick.relativeCreated) / 1000 - (ordinary.created - quick.created)) < 0.01
    assert vars(quick)["invocation_id"] == run.context.invocation_id
    assert (quick.filename, quick.funcName) == ("access_log.py", "log_access")


async def test_each_record_names_its_own_task_and_thread() -> None:
    ear = Ear()

    async def work() -> None:
        log_access(a_run(), "json")

    with attached(ear):
        await asyncio.create_task(work(), name="first")
        await asyncio.create_task(work(), name="second")
        await asyncio.to_thread(log_access, a_run(), "json")
    assert [record.threadName == ear.heard[0].threadName for record in ear.heard] == [True, True, False]
    if sys.version_info >= (3, 12):
        assert [vars(record)["taskName"] for record in ear.heard] == ["first", "second", None]


def test_a_program_that_makes_records_itself_makes_these_too() -> None:
    ear, factory = Ear(), logging.getLogRecordFactory()

    def own(*args: Any, **kwargs: Any) -> logging.LogRecord:
        record = factory(*args, **kwargs)
        record.mark = "own"
        return record

    logging.setLogRecordFactory(own)
    try:
        with attached(ear):
            log_access(a_run(), "json")
    finally:
        logging.setLogRecordFactory(factory)
    assert vars(ear.heard[0])["mark"] == "own"


def test_filters_and_levels_count() -> None:
    ear = Ear()
    ear.addFilter(lambda record: vars(record)["session_id"] != "secret")
    with attached(ear):
        log_access(a_run("secret"), "json")
        log_access(a_run("known"), "json")
        access_logger.setLevel(logging.WARNING)
        log_access(a_run("known"), "json")
    assert [vars(record)["session_id"] for record in ear.heard] == ["known"]


def test_a_handler_of_the_program_hears_of_requests(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ppio_agent_runtime.access")
    app = PPIOAgentRuntimeApp(AgentConfig(access_log=True))

    @app.entrypoint
    async def agent(payload: dict[str, object]) -> int:
        return 1

    from ppio_agent_runtime.testing import running

    with running(app) as url:
        answer = post(url)
    assert answer.headers["x-ppio-invocation-id"] in caplog.messages[-1]


async def test_lines_of_one_turn_share_writes_that_a_pipe_takes_as_a_whole() -> None:
    runs = [a_run() for _ in range(100)]
    with paper() as stream:
        for run in runs:
            log_access(run, "json")
        await asyncio.sleep(0)
    assert [run.context.invocation_id in line for run, line in zip(runs, lines_of(stream), strict=True)] == [True] * 100
    assert len(stream.writes) < 20
    assert max(map(len, stream.writes)) <= 4096


async def test_another_line_takes_those_before_it_along() -> None:
    with paper() as stream:
        log_access(a_run(), "json")
        logging.getLogger("ppio_agent_runtime").warning("news")
        assert len(stream.writes) == 1
        first, second = lines_of(stream)
    assert "succeeded" in first
    assert second == "news"


def test_a_loop_that_ends_in_the_turn_leaves_no_line_behind() -> None:
    async def work() -> None:
        log_access(a_run(), "json")

    with paper() as stream:
        for _ in range(2):
            loop = asyncio.new_event_loop()
            coroutine = work()
            loop.call_soon(coroutine.send, None)
            loop.call_soon(loop.stop)
            loop.set_exception_handler(lambda _loop, _context: None)  # StopIteration: the coroutine is over
            loop.run_forever()
            loop.close()
        log_access(a_run(), "json")  # where no loop runs, a line goes out at once, behind the others
        assert len(lines_of(stream)) == 3


async def test_a_stream_that_fails_is_told_by_logging_and_nobody_else(capsys: pytest.CaptureFixture[str]) -> None:
    class Broken(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError("nobody reads")

    handler = LineHandler()
    handler.setStream(Broken())
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: pytest.fail(str(context)))
    with attached(handler):
        log_access(a_run(), "json")
        await asyncio.sleep(0)
    assert "nobody reads" in capsys.readouterr().err


def lines_of(stream: Paper) -> list[str]:
    return "".join(stream.writes).splitlines()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_line_is_lost_at_sigterm_and_each_follows_what_its_handler_said(tmp_path: Path, log_format: str) -> None:
    settings = {"PPIO_AGENT_ACCESS_LOG": "true", "PPIO_AGENT_LOG_FORMAT": log_format}
    with ThreadPoolExecutor(8) as callers, agent_process(tmp_path, **settings) as (url, lines):
        answers = list(callers.map(lambda number: post(url, {"n": number}), range(1, 41)))
    for number, answer in enumerate(answers, 1):
        own = [line for line in lines if answer.headers["x-ppio-invocation-id"] in line]
        assert len(own) == 3
        assert f"works on {number}" in own[0]
        assert "succeeded" in own[-1]


def test_lines_go_out_while_the_agent_goes_on(tmp_path: Path) -> None:
    (tmp_path / "main.py").write_text(AGENT.replace("log.info", "log.debug"), encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PPIO_", "OTEL_"))}
    settings = {"PPIO_AGENT_HOST": "127.0.0.1", "PPIO_AGENT_PORT": "0", "PPIO_AGENT_ACCESS_LOG": "true"}
    command = [sys.executable, "-m", "ppio_agent_runtime", "main.py"]
    with subprocess.Popen(command, cwd=tmp_path, env=clean | settings, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            url = process.stderr.readline().split()[-1]
            for number in range(1, 4):
                post(url, {"n": number})
                assert "succeeded" in process.stderr.readline()
        finally:
            process.kill()


END_IN_THE_TURN = """
import asyncio, os, sys
from ppio_agent_runtime import configure_logging
from ppio_agent_runtime._watch.access_log import log_access
from ppio_agent_runtime._engine.context import RequestContext
from ppio_agent_runtime._engine.run import Run
configure_logging("json")

async def main():
    for _ in range(3):
        log_access(Run(RequestContext(), None, None), "json")
    {end}

asyncio.run(main())
"""


@pytest.mark.parametrize("end", ["raise ValueError", "sys.exit(1)", "raise KeyboardInterrupt", "pass"])
def test_no_line_is_lost_when_the_program_ends_in_the_same_turn(end: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", END_IN_THE_TURN.format(end=end)], capture_output=True, text=True, check=False
    )
    assert len([line for line in ran.stderr.splitlines() if line.startswith("{") and json.loads(line)]) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_does_not_write_them_again() -> None:
    end = "os.fork() and os.wait()"
    ran = subprocess.run(
        [sys.executable, "-c", END_IN_THE_TURN.format(end=end)], capture_output=True, text=True, check=True
    )
    assert ran.stderr.count("succeeded") == 3
