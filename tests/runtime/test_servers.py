"""What an agent promises under each ASGI server, and what that server does not let it keep.

`WITHOUT` is the whole list of exceptions, and each of them is tested to be one; docs/operate.md shows it.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import pytest
from websockets.sync.client import connect as connect_websocket

from tests.support.agent_process import PRELUDE
from tests.support.gates import eventually
from tests.support.processes import environment
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection, get, invoke, request

PYTHON: Final = [sys.executable, "-W", "ignore"]
SERVERS: Final = {
    "`app.run()`": [*PYTHON, "main.py"],
    "uvicorn": [*PYTHON, "-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", "{port}"],
    "gunicorn": [*PYTHON, "-m", "gunicorn", "-k", "uvicorn_worker.UvicornWorker", "-b", "127.0.0.1:{port}", "main:app"],
    "hypercorn": [*PYTHON, "-m", "hypercorn", "-b", "127.0.0.1:{port}", "main:app"],
    "granian": [*PYTHON, "-m", "granian", "--interface", "asgi", "--host", "127.0.0.1", "--port", "{port}", "main:app"],
}
PROGRAM: Final = """
@contextlib.asynccontextmanager
async def lifespan(app):
    say("entered")
    yield
    say("left")

app = PPIOAgentRuntimeApp(AgentConfig(max_request_size=100_000, request_read_timeout_seconds=1), lifespan=lifespan)

async def counted(payload):
    try:
        for number in range(payload["chunks"]):
            (folder / "made").write_text(str(number))
            yield "x" * payload.get("size", 1)
            if "gate" in payload:
                await passed(payload["gate"])
    finally:
        say("closed")

@app.entrypoint
async def handler(payload: dict):
    if "chunks" in payload:
        return counted(payload)
    if "wait" in payload:
        say("begun")
        await passed("go on")
    return payload

@app.websocket
async def talk(websocket, context):
    await websocket.accept()
    await websocket.send_text(await websocket.receive_text())

if __name__ == "__main__":
    app.run()
"""


class Served:
    """An agent that one of the servers serves."""

    def __init__(self, folder: Path, process: subprocess.Popen[bytes], port: int) -> None:
        self.folder = folder
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def heard(self, word: str) -> bool:
        """Say whether the agent said so."""
        return (self.folder / word).exists()

    def say(self, word: str) -> None:
        """Tell the agent."""
        (self.folder / word).touch()

    def is_up(self) -> bool:
        """Say whether it answers."""
        try:
            return get(self.url, "/ping").status == 200
        except OSError:
            assert self.process.poll() is None, (self.folder / "log").read_text()
            return False


@contextmanager
def served(server: str, folder: Path, *further: str) -> Iterator[Served]:
    module = SERVERS[server][SERVERS[server].index("-m") + 1] if "-m" in SERVERS[server] else "uvicorn"
    if find_spec(module) is None:
        pytest.skip(f"{module} is not installed")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    (folder / "main.py").write_text(PRELUDE + PROGRAM)
    command = [part.replace("{port}", str(port)) for part in (*SERVERS[server], *further)]
    variables = environment(PPIO_AGENT_HOST="127.0.0.1", PPIO_AGENT_PORT=str(port), PYTHONWARNINGS="ignore")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=variables, stdout=log, stderr=log, stdin=subprocess.DEVNULL, start_new_session=True
        )
        agent = Served(folder, process, port)
        try:
            eventually(agent.is_up, "the agent answers")
            yield agent
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def json_answers(agent: Served) -> None:
    assert invoke(agent.url, {"text": "é"}).result == {"text": "é"}


def every_error_is_an_envelope(agent: Served) -> None:
    for sent, status in (
        (request([1]), 422),
        (b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n", 404),
        (b"PUT /ping HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n", 405),
    ):
        with Connection(agent.url) as caller:
            caller.send(sent)
            answer = caller.read_answer()
            assert (answer.status, answer.json["status"]) == (status, "error")


def chunks_come_when_they_are_made(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.post({"chunks": 2, "gate": "second chunk"}, EVENT_STREAM)
        assert caller.read_head()[0] == 200
        events = caller.events()
        assert next(events).data == "x"
        agent.say("second chunk")
        assert next(events).data == "x"


def a_slow_reader_makes_the_handler_wait(agent: Served) -> None:
    with Connection(agent.url, receive_buffer_bytes=4096) as caller:
        caller.post({"chunks": 20_000, "size": 10_000}, EVENT_STREAM)
        caller.read_head()
        stands = [0]

        def stands_still() -> bool:
            made = int((agent.folder / "made").read_text() or 0)
            stands.append(made)
            return len(stands) > 100 and stands[-100] == made

        eventually(stands_still, "the handler waits")
        assert stands[-1] < 19_999


def hanging_up_cancels_the_handler(agent: Served) -> None:
    (agent.folder / "closed").unlink(missing_ok=True)
    with Connection(agent.url) as caller:
        caller.post({"chunks": 2, "gate": "never"}, EVENT_STREAM)
        caller.read_head()
        next(caller.events())
    eventually(lambda: agent.heard("closed"), "the generator is closed")


def a_cut_stream_goes_on(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.post({"chunks": 3, "gate": "goes on"}, PROTOCOL_1 | EVENT_STREAM)
        _, headers = caller.read_head()
        next(caller.events())
    agent.say("goes on")
    path = f"/invocations/{headers['x-ppio-invocation-id']}/events"
    with Connection(agent.url) as caller:
        caller.send(f"GET {path} HTTP/1.1\r\nHost: a\r\nLast-Event-ID: 1\r\n\r\n".encode())
        rest = caller.read_answer().events
    assert [(event.kind, event.event_id) for event in rest] == [("chunk", 2), ("chunk", 3), ("done", 4)]


def large_bodies_are_refused(agent: Served) -> None:
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    with Connection(agent.url) as caller:
        caller.send(b"POST /invocations HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 7)
        assert caller.read_answer().status == 413
    with Connection(agent.url) as caller:
        caller.send(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n")
        assert caller.read_answer().status == 413


def slow_bodies_are_refused(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.send(b"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n{")
        assert caller.read_answer().status == 408


def websockets_are_served(agent: Served) -> None:
    with connect_websocket(agent.url.replace("http", "ws") + "/ws") as socket:
        socket.send("hello")
        assert socket.recv(timeout=60) == "hello"


def an_upgrade_offer_is_ignored(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.send(
            request({"a": 1}, {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAM"})
        )
        assert caller.read_answer().result == {"a": 1}


def large_heads_are_refused(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.send(request({}, {f"X-{number}": "a" * 1000 for number in range(100)}))
        assert caller.read_answer().status == 431


def slow_heads_are_refused(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.socket.settimeout(5)
        caller.send(b"POST /invocations HTTP/1.1\r\nHo")
        assert caller.read_answer().status == 408


def what_is_no_http_gets_an_envelope(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.send(b"this is not HTTP\r\n\r\n")
        answer = caller.read_answer()
        assert (answer.status, answer.json["error_type"]) == (400, "BadRequestError")


def sigterm_lets_work_finish(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.post({"wait": True})
        eventually(lambda: agent.heard("begun"), "the handler begins")
        agent.process.terminate()
        agent.say("go on")
        assert caller.read_answer().result == {"wait": True}


def the_port_stays_open_while_draining(agent: Served) -> None:
    with Connection(agent.url) as caller:
        caller.post({"wait": True})
        eventually(lambda: agent.heard("begun"), "the handler begins")
        agent.process.terminate()
        eventually(lambda: get(agent.url, "/ping").status == 503, "the drain")
        refused = invoke(agent.url)
        assert (refused.status, refused.headers["retry-after"]) == (503, "1")
        agent.say("go on")


def the_lifespan_is_left_at_the_end(agent: Served) -> None:
    assert agent.heard("entered")
    agent.process.terminate()
    agent.process.wait(60)
    assert agent.heard("left")


def the_exit_code_is_0(agent: Served) -> None:
    agent.process.terminate()
    assert agent.process.wait(60) == 0


KEPT: Final[dict[str, Callable[[Served], None]]] = {
    "JSON answers": json_answers,
    "every error is an envelope, 404 and 405 too": every_error_is_an_envelope,
    "chunks leave when they are made": chunks_come_when_they_are_made,
    "a slow reader makes the handler wait": a_slow_reader_makes_the_handler_wait,
    "hanging up cancels the handler": hanging_up_cancels_the_handler,
    "a cut stream can be resumed": a_cut_stream_goes_on,
    "bodies that are too large, 413": large_bodies_are_refused,
    "bodies that are too slow, 408": slow_bodies_are_refused,
    "WebSockets at `/ws`": websockets_are_served,
    "`Upgrade` offers are ignored, body and all": an_upgrade_offer_is_ignored,
    "heads that are too large, 431": large_heads_are_refused,
    "heads that are too slow, 408": slow_heads_are_refused,
    "what is no HTTP, 400 as an envelope": what_is_no_http_gets_an_envelope,
}
ENDING: Final[dict[str, Callable[[Served], None]]] = {
    "SIGTERM lets running work finish": sigterm_lets_work_finish,
    "while it does, the port is open and new work gets 503": the_port_stays_open_while_draining,
    "the lifespan is left at the end": the_lifespan_is_left_at_the_end,
    "the exit code is 0 after SIGTERM": the_exit_code_is_0,
}
_HEADS: Final = {"heads that are too slow, 408", "what is no HTTP, 400 as an envelope"}
_PORT: Final = {"while it does, the port is open and new work gets 503"}
_UVICORN: Final = _HEADS | _PORT | {"`Upgrade` offers are ignored, body and all", "heads that are too large, 431"}
WITHOUT: Final[dict[str, set[str]]] = {
    "`app.run()`": set(),
    "uvicorn": _UVICORN | {"the exit code is 0 after SIGTERM"},
    "gunicorn": _UVICORN,
    "hypercorn": _HEADS | _PORT,
    "granian": _HEADS | _PORT,
}


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def agent(server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(server, tmp_path_factory.mktemp("agent")) as running:
        yield running


def check(server: str, promise: str, holds: Callable[[Served], None], agent: Served) -> None:
    if promise in WITHOUT[server]:
        with pytest.raises((AssertionError, OSError, ValueError)):
            holds(agent)
    else:
        holds(agent)


@pytest.mark.parametrize("promise", KEPT)
@pytest.mark.slow
def test_promise_is_kept_while_it_runs(server: str, promise: str, agent: Served) -> None:
    check(server, promise, KEPT[promise], agent)


@pytest.mark.parametrize("promise", ENDING)
@pytest.mark.slow
def test_promise_is_kept_at_the_end(server: str, promise: str, tmp_path: Path) -> None:
    with served(server, tmp_path) as agent:
        check(server, promise, ENDING[promise], agent)


def test_uvicorn_takes_our_protocol_by_name(tmp_path: Path) -> None:
    with served("uvicorn", tmp_path, "--http", "ppio_agent_runtime.http_protocol:AgentHttpProtocol") as agent:
        an_upgrade_offer_is_ignored(agent)
        large_heads_are_refused(agent)
        what_is_no_http_gets_an_envelope(agent)


def table() -> str:
    """Return what docs/operate.md shows of all this."""
    rows = ["| promise | " + " | ".join(SERVERS) + " |", "|---|" + ":---:|" * len(SERVERS)]
    for promise in (*KEPT, *ENDING):
        kept = ["" if promise in WITHOUT[server] else "yes" for server in SERVERS]
        rows.append(f"| {promise} | " + " | ".join(kept) + " |")
    return "\n".join(rows)


def test_documentation_has_this_table() -> None:
    page = (Path(__file__).parents[2] / "docs/operate.md").read_text(encoding="utf-8")
    assert table() in page, f"docs/operate.md, Other servers, needs:\n{table()}"
