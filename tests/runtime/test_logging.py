"""Log lines of a real server in a real process, and of a program's own handlers."""

from __future__ import annotations

import asyncio
import http.client
import json
import logging
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp, configure_logging
from ppio_agent_runtime.testing import running
from tests.runtime.wire import Answer, post, request

AGENT = """
import asyncio, logging
from ppio_agent_runtime import PPIOAgentRuntimeApp
app = PPIOAgentRuntimeApp()
log = logging.getLogger("mine")

@app.entrypoint
def agent(request: dict):
    log.info("works on %s", request["n"])
    log.info("the same", extra={"request_id": "my own", "n": request["n"]})
    if request["n"] == 0:
        raise ValueError("zero")
    return request["n"]
"""


@contextmanager
def agent_process(folder: Path, program: str = AGENT, **variables: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the URL of an agent in a process of its own, and the list that has all of its log lines in the end."""
    (folder / "main.py").write_text(textwrap.dedent(program), encoding="utf-8")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PPIO_", "OTEL_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "ppio_agent_runtime", "main.py"],
        cwd=folder,
        env=clean | {"PPIO_AGENT_HOST": "127.0.0.1", "PPIO_AGENT_PORT": "0"} | variables,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    lines: list[str] = []
    try:
        for line in process.stderr:
            lines.append(line)
            if found := re.search(r"listens on (http://[\d.:]+)", line):
                yield found[1], lines
                break
        process.terminate()
        lines += process.stderr.readlines()
        assert process.wait() == 0, lines
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


def ids(answer: Answer) -> dict[str, str]:
    return {
        "request_id": answer.headers["x-ppio-request-id"],
        "session_id": answer.headers["x-ppio-session-id"],
        "invocation_id": answer.headers["x-ppio-invocation-id"],
    }


@pytest.mark.contract
def test_json_lines_of_every_logger_and_worker_thread_carry_the_ids(tmp_path: Path) -> None:
    with agent_process(tmp_path, PPIO_AGENT_LOG_FORMAT="json", PPIO_AGENT_ACCESS_LOG="true") as (url, lines):
        answer = post(url, {"n": 1}, session="s1", X_PPIO_Request_Id="r1")
        failure = post(url, {"n": 0}, session="s2")
    records = [json.loads(line) for line in lines]
    by_message = {record["message"]: record for record in records}
    assert by_message["works on 1"].items() >= {**ids(answer), "logger": "mine", "level": "INFO"}.items()
    own = next(record for record in records if record["message"] == "the same" and record["n"] == 1)
    assert own.items() >= {**ids(answer), "request_id": "my own"}.items()
    access = [record for record in records if record["logger"] == "ppio_agent_runtime.access"]
    assert [record.items() >= ids(answer).items() for record in access] == [True]
    assert access[0].items() >= {"mode": "json", "sent_bytes": len(answer.body), "chunks": 0}.items()
    failed = next(record for record in records if record["level"] == "ERROR")
    assert failed.items() >= ids(failure).items()
    assert (failed["exception"]["type"], failed["exception"]["message"]) == ("ValueError", "zero")
    assert "in agent" in failed["exception"]["stacktrace"]
    assert "request_id" not in records[0]


@pytest.mark.contract
def test_text_lines_carry_the_ids_and_nothing_is_said_about_success(tmp_path: Path) -> None:
    with agent_process(tmp_path) as (url, lines):
        answer = post(url, {"n": 1}, session="s1", X_PPIO_Request_Id="r1")
        post(url, {"n": 0})
    assert len([line for line in lines if "succeeded" in line]) == 0
    works = next(line for line in lines if "works on 1" in line)
    assert works.endswith(f"[request=r1 session=s1 invocation={ids(answer)['invocation_id']}]\n")
    assert any("ValueError: zero" in line for line in lines)
    assert any(line.startswith("Traceback") for line in lines)


def test_lines_of_uvicorn_have_the_same_format(tmp_path: Path) -> None:
    program = AGENT.replace(
        "return request", "logging.getLogger('uvicorn.error').warning('hm', extra=X)\n    return request"
    )
    program += "X = {'color_message': 'coloured'}\n"
    with agent_process(tmp_path, program, PPIO_AGENT_LOG_FORMAT="json") as (url, lines):
        answer = post(url, {"n": 1}, session="s")
    found = [record for record in map(json.loads, lines) if record["message"] == "hm"]
    assert found[0].items() >= {"logger": "uvicorn.error", "level": "WARNING", **ids(answer)}.items()
    assert "color_message" not in found[0]


@pytest.mark.contract
def test_a_program_with_its_own_logging_keeps_it_and_has_the_ids(tmp_path: Path) -> None:
    setup = "logging.basicConfig(level='WARNING', format='OWN %(message)s %(invocation_id)s')\n"
    program = AGENT.replace("app = ", f"{setup}app = ").replace("log.info", "log.warning")
    (tmp_path / "main.py").write_text(textwrap.dedent(program), encoding="utf-8")
    driver = """
import http.client, json
import main
from ppio_agent_runtime.testing import running
with running(main.app) as url:
    connection = http.client.HTTPConnection(url.removeprefix("http://"))
    connection.request("POST", "/invocations", '{"n": 1}')
    print(connection.getresponse().getheader("x-ppio-invocation-id"))
    connection.close()
"""
    ran = subprocess.run([sys.executable, "-c", driver], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert f"OWN works on 1 {ran.stdout.strip()}\n" in ran.stderr
    assert all(line.startswith("OWN ") for line in ran.stderr.splitlines())


DISABLING = {
    "dictConfig": """logging.config.dictConfig({
        "version": 1,
        "handlers": {"h": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["h"], "level": "INFO"},
    })""",
    "fileConfig": "logging.config.fileConfig('log.ini')",
}
LOG_INI = (
    "[loggers]\nkeys=root\n[handlers]\nkeys=h\n[formatters]\nkeys=\n"
    "[logger_root]\nlevel=INFO\nhandlers=h\n[handler_h]\nclass=StreamHandler\nargs=()\n"
)


@pytest.mark.parametrize("how", list(DISABLING))
@pytest.mark.parametrize("when", ["before", "inside"])
def test_failures_are_logged_after_logging_was_configured_with_its_defaults(
    tmp_path: Path, how: str, when: str
) -> None:
    (tmp_path / "log.ini").write_text(LOG_INI, encoding="utf-8")
    program = f"""
import logging.config
from ppio_agent_runtime import PPIOAgentRuntimeApp
app = PPIOAgentRuntimeApp()
def configure():
    {DISABLING[how]}
if {when == "before"}:
    configure()

@app.entrypoint
def agent(request: dict):
    if {when == "inside"}:
        configure()
    raise ValueError("the reason is 4711")
"""
    with agent_process(tmp_path, program, PPIO_AGENT_ACCESS_LOG="1") as (url, lines):
        assert post(url).status == 500
    text = "".join(lines)
    assert text.count("ValueError: the reason is 4711") == 1
    assert "Invocation" in text


def test_lines_are_logged_while_another_thread_is_importing_opentelemetry(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(lambda payload: logging.getLogger("agent").warning("a line"))
    with running(app) as url:
        monkeypatch.setitem(sys.modules, "opentelemetry.trace", ModuleType("opentelemetry.trace"))  # empty so far
        assert post(url).status == 200
    assert "a line" in caplog.messages


def test_debug_raises_the_level_of_our_own_loggers_and_gives_each_request_a_line(tmp_path: Path) -> None:
    program = """
import logging
from ppio_agent_runtime import PPIOAgentRuntimeApp
app = PPIOAgentRuntimeApp()

@app.entrypoint
def agent(request: dict):
    logging.getLogger("httpcore.connection").debug("NOISE")
    return 1
"""
    with agent_process(tmp_path, program, PPIO_AGENT_DEBUG="1") as (url, lines):
        answers = [post(url), post(url)]
        request(url, "POST", "/invocations", b"{")
    text = "".join(lines)
    assert "NOISE" not in text
    for answer in answers:
        assert len([line for line in lines if answer.headers["x-ppio-invocation-id"] in line]) == 1
    assert len([line for line in lines if "refused" in line and "BadRequestError" in line]) == 1


@pytest.mark.contract
def test_a_format_that_the_operator_names_wins_over_basic_config(tmp_path: Path) -> None:
    program = AGENT.replace("app = ", "logging.basicConfig(level='INFO')\napp = ")
    with agent_process(tmp_path, program, PPIO_AGENT_LOG_FORMAT="json") as (url, lines):
        post(url, {"n": 1})
    assert all(json.loads(line) for line in lines)


@pytest.mark.contract
def test_neither_payload_nor_header_value_nor_key_is_logged_at_info(tmp_path: Path) -> None:
    quiet = AGENT.replace('log.info("works on %s", request["n"])', "pass")
    with agent_process(tmp_path, quiet, PPIO_AGENT_ACCESS_LOG="1") as (url, lines):
        post(url, {"n": 1, "secret": "PAYLOAD"}, Authorization="Bearer HEADERKEY", X_PPIO_User_Id="USERID")
        request(url, "POST", "/invocations", b'{"PAYLOAD"', {"Authorization": "Bearer HEADERKEY"})
        request(url, "POST", "/invocations", b'["PAYLOAD"]')
    text = "".join(lines)
    assert "succeeded" in text
    assert not any(secret in text for secret in ("PAYLOAD", "HEADERKEY", "USERID"))


@pytest.mark.contract
def test_what_the_drain_cuts_is_logged_by_invocation_id(tmp_path: Path) -> None:
    program = """
    import asyncio
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def agent(request):
        yield request["n"]
        await asyncio.Event().wait()
    """
    settings = {"PPIO_AGENT_SHUTDOWN_GRACE_SECONDS": "0", "PPIO_AGENT_LOG_FORMAT": "json"}
    with agent_process(tmp_path, program, **settings) as (url, lines):
        connections = [http.client.HTTPConnection(url.removeprefix("http://")) for _ in range(3)]
        invocations = set()
        for number, connection in enumerate(connections):
            connection.request("POST", "/invocations", json.dumps({"n": number}))
            invocations.add(connection.getresponse().getheader("x-ppio-invocation-id"))
    for connection in connections:
        connection.close()
    cut = [record for record in map(json.loads, lines) if "The drain stops invocation" in record["message"]]
    assert len(cut) == 3
    assert {record["invocation_id"] for record in cut} == invocations


@pytest.mark.contract
async def test_ids_reach_records_in_all_handler_kinds_and_end_with_the_invocation() -> None:
    heard: list[Any] = []

    class Ear(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append((record.getMessage(), vars(record)["invocation_id"], record.__dict__["session_id"]))

    log = logging.getLogger("ear")
    log.propagate = False
    log.setLevel("INFO")
    log.addHandler(Ear())

    def plain() -> int:
        log.info("plain")
        return 1

    async def coroutine() -> int:
        log.info("coroutine")
        await asyncio.to_thread(log.info, "to_thread")
        return 1

    def generator() -> Iterator[int]:
        log.info("generator")
        yield 1

    async def asynchronous() -> Any:
        log.info("async generator")
        yield 1

    for kind in (plain, coroutine, generator, asynchronous):
        app = PPIOAgentRuntimeApp()
        app.entrypoint(kind)
        with running(app) as url:
            answer = await asyncio.to_thread(post, url, session="s")
        expected = (ids(answer)["invocation_id"], "s")
        assert heard
        assert {each[1:] for each in heard} == {expected}
        heard.clear()
    log.info("outside")
    assert heard == [("outside", None, None)]


@pytest.mark.contract
def test_the_helper_serves_programs_that_another_server_runs() -> None:
    program = """
import logging, sys
from ppio_agent_runtime import configure_logging
configure_logging("json")
logging.getLogger("mine").info("one")
configure_logging("text")
logging.getLogger("mine").info("two")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    first, second = ran.stderr.splitlines()
    assert json.loads(first)["message"] == "one"
    assert second.endswith("INFO mine: two")


def test_the_record_factory_is_wrapped_once() -> None:
    configure_logging()
    factory = logging.getLogRecordFactory()
    configure_logging()
    assert logging.getLogRecordFactory() is factory


@pytest.mark.contract
def test_a_wrong_format_is_refused_at_start() -> None:
    with pytest.raises(ConfigurationError, match=r"AgentConfig\.log_format must be one of 'text', 'json'"):
        AgentConfig(log_format="xml")  # type: ignore[arg-type]
