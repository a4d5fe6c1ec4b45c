"""`console`: the page on this machine for an agent elsewhere, and what the relay behind it refuses."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from ppio_agent_client import SyncLocalSandboxProvider
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call
from tests.support.command_line import CommandLine
from tests.support.ports import free_port
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Answer, Connection

from .agents import write_agent

KEY = "key-of-16-letters"
OWN = {"X-PPIO-Console": "1", "Content-Type": "application/json"}
BROWSER = {"Accept": "text/html"}


def sent(url: str, path: str, headers: dict[str, str], method: str = "GET", body: bytes | None = None) -> Answer:
    """Send a request as the browser that shows the page does, but for `headers`."""
    host = url.removeprefix("http://")
    return call(url, path, method=method, body=body, headers={"Host": host, **headers})


@pytest.fixture(scope="module")
def agent() -> Iterator[tuple[str, list[Any]]]:
    """An agent that wants a key, and what it was asked."""
    app = PPIOAgentRuntimeApp(AgentConfig(debug=True, api_keys=[KEY]))
    asked: list[Any] = []

    @app.entrypoint
    async def stream(payload: dict[str, Any]) -> Any:
        assert app.context is not None
        asked.append((payload, dict(app.context.headers)))
        if not payload.get("silent"):
            yield "one"
        if payload.get("wait"):
            try:
                await asyncio.Event().wait()
            finally:
                asked.append("cancelled")

    with running(app) as url:
        yield url, asked


@pytest.fixture(scope="module")
def page(agent: tuple[str, list[Any]], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of that agent."""
    room = tmp_path_factory.mktemp("console")
    cli = CommandLine(room, room / "home")
    with cli.console("--url", agent[0], PPIO_TOKEN=KEY) as (url, _):
        yield url


def test_page_and_its_files_are_those_of_the_runtime_under_its_policy(page: str) -> None:
    for path in "/", "/console", "/console/static/main.js":
        answer = sent(page, path, BROWSER)
        assert answer.status == 200
        assert "require-trusted-types-for 'script'" in answer.headers["content-security-policy"]


def test_key_is_added_here_and_the_browser_never_sees_it(page: str, agent: tuple[str, list[Any]]) -> None:
    session = {"X-PPIO-Session-Id": "s-7", "Authorization": "Bearer of-the-browser", "Cookie": "a=b"}
    answer = sent(page, "/invocations", {**OWN, **session, "Accept": "application/json"}, "POST", b'{"n": 1}')

    assert answer.result == "one"
    assert answer.headers["x-ppio-session-id"] == "s-7"
    payload, headers = agent[1][-1]
    assert payload == {"n": 1}
    assert headers["authorization"] == f"Bearer {KEY}"
    assert headers["x-ppio-session-id"] == "s-7"
    assert "cookie" not in headers
    for path in "/", "/console/settings", "/openapi.json", "/console/runs", "/ping", "/metrics":
        answer = sent(page, path, BROWSER)
        assert answer.status == 200, path
        assert KEY.encode() not in answer.body


def test_stream_comes_as_it_is_made_and_can_be_resumed_and_cancelled(page: str, agent: tuple[str, list[Any]]) -> None:
    host = {"Host": page.removeprefix("http://")}
    with Connection(page) as connection:
        connection.post({"wait": True}, {**host, **OWN, **PROTOCOL_1, **EVENT_STREAM})
        status, headers = connection.read_head()
        assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert next(connection.events()).data == "one"  # while the agent goes on
    invocation = headers["x-ppio-invocation-id"]
    with Connection(page) as connection:
        path = f"/invocations/{invocation}/events"
        connection.send(f"GET {path} HTTP/1.1\r\nHost: {host['Host']}\r\nLast-Event-ID: 0\r\n\r\n".encode())
        connection.read_head()
        events = connection.events()
        assert next(events).data == "one"
        assert sent(page, f"/invocations/{invocation}", OWN, "DELETE").status == 202
        assert [event.kind for event in events] == ["error"]
    assert agent[1][-1] == "cancelled"


@pytest.mark.parametrize("silent", [False, True])
def test_browser_that_hangs_up_is_heard_by_the_agent(page: str, agent: tuple[str, list[Any]], silent: bool) -> None:
    before, asked = agent[1].count("cancelled"), len(agent[1])
    with Connection(page) as connection:
        connection.post({"wait": True, "silent": silent}, {"Host": page.removeprefix("http://"), **OWN, **EVENT_STREAM})
        if silent:  # the agent has not begun to answer
            while len(agent[1]) == asked:
                sent(page, "/ping", {})
        else:
            connection.read_head()
            next(connection.events())
    for _ in range(10_000):
        if agent[1].count("cancelled") > before:
            return
        sent(page, "/ping", {})
    raise AssertionError("the agent goes on")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1", "evil.example:8090", "[::1]", ""])
@pytest.mark.parametrize("path", ["/", "/console/static/main.js", "/ping", "/invocations"])
def test_foreign_host_is_refused_files_included(page: str, host: str, path: str) -> None:
    answer = call(page, path, method="GET", headers={"Host": host, **BROWSER})

    assert (answer.status, answer.json["error_type"]) == (403, "ForeignHostError")


def test_second_host_is_refused(page: str) -> None:
    own = page.removeprefix("http://")
    with Connection(page) as connection:
        connection.send(f"GET /ping HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n\r\n".encode())
        assert connection.read_answer().status in (400, 403)


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://localhost", "http://127.0.0.1:1", ""])
def test_foreign_origin_is_refused(page: str, origin: str) -> None:
    for method, body in ("GET", None), ("POST", b"{}"), ("OPTIONS", None):
        answer = sent(page, "/invocations", {**OWN, "Origin": origin}, method, body)
        assert (answer.status, answer.json["error_type"]) == (403, "ForeignOriginError")
        assert "access-control-allow-origin" not in answer.headers


def test_own_origin_and_localhost_are_let_in(page: str) -> None:
    port = page.rpartition(":")[2]
    for host in f"127.0.0.1:{port}", f"localhost:{port}":
        assert sent(page, "/ping", {"Host": host, "Origin": f"http://{host}"}).status == 200


def test_request_that_another_page_could_send_is_refused(page: str, agent: tuple[str, list[Any]]) -> None:
    before = len(agent[1])
    plain = {"Content-Type": "text/plain", "X-PPIO-Console": "1"}
    assert sent(page, "/invocations", plain, "POST", b"{}").status == 415
    assert sent(page, "/invocations", {"X-PPIO-Console": "1"}, "POST", b"{}").status == 415
    assert sent(page, "/invocations", {"Content-Type": "application/json"}, "POST", b"{}").status == 403
    assert sent(page, "/invocations/x", {}, "DELETE").status == 403
    assert sent(page, "/ping", {"Sec-Fetch-Site": "cross-site"}).status == 403
    assert len(agent[1]) == before


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/docs"),
        ("GET", "/own"),
        ("GET", "/invocations"),
        ("GET", "/invocations/../ping"),
        ("GET", "/invocations/x/../../own"),
        ("GET", "/invocations/x%2f..%2f..%2fown"),
        ("GET", "/console/static/../page.py"),
        ("GET", "//evil.example/ping"),
        ("GET", "/ping/"),
        ("PUT", "/invocations"),
        ("PATCH", "/invocations/x"),
        ("POST", "/ping"),
        ("DELETE", "/invocations"),
    ],
)
def test_other_paths_are_not_relayed(page: str, method: str, path: str) -> None:
    answer = sent(page, path, OWN, method, None if method == "GET" else b"{}")

    assert (answer.status, answer.json["error_type"]) == (404, "NotFoundError")


class Hostile(BaseHTTPRequestHandler):
    """An agent that answers with what no agent should."""

    def do_GET(self) -> None:  # the name is http.server's
        self.send_response(302 if self.path == "/metrics" else 200)
        self.send_header("Location", "http://169.254.169.254/secret")
        self.send_header("Set-Cookie", "a=b")
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("WWW-Authenticate", "Basic")
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(b"<script>alert(1)</script>")

    def log_message(self, *_: Any) -> None: ...


@pytest.mark.slow
def test_hostile_agent_gets_no_hold_of_the_browser(cli: CommandLine) -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with cli.console("--url", f"http://127.0.0.1:{server.server_port}") as (url, _):
            moved = sent(url, "/metrics", {})
            assert (moved.status, moved.json["error_type"]) == (502, "RedirectError")
            shown = sent(url, "/ping", {})
            assert shown.status == 200
            assert not shown.headers.keys() & {
                "set-cookie",
                "access-control-allow-origin",
                "www-authenticate",
                "location",
            }
            assert shown.headers["content-security-policy"].startswith("default-src 'none'; sandbox")
            assert shown.headers["x-content-type-options"] == "nosniff"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_agent_that_is_not_there_or_wants_another_key_is_told(cli: CommandLine, agent: tuple[str, list[Any]]) -> None:
    with cli.console("--url", f"http://127.0.0.1:{free_port()}") as (url, _):
        answer = sent(url, "/ping", {})
        assert (answer.status, answer.json["error_type"]) == (502, "NetworkError")
        assert "127.0.0.1" in answer.json["error"]
    with cli.console("--url", agent[0]) as (url, _):
        assert sent(url, "/console/settings", {}).status == 401


def test_it_listens_on_loopback_alone(page: str) -> None:
    port = int(page.rpartition(":")[2])
    own_address = next((found[4][0] for found in socket.getaddrinfo(socket.gethostname(), port, socket.AF_INET)), "")
    if str(own_address).startswith("127."):
        pytest.skip("this machine has no other address")
    with pytest.raises(OSError, match=r"refused"):
        socket.create_connection((str(own_address), port), 5).close()


@pytest.mark.slow
def test_new_sandbox_of_a_template_is_closed_at_the_end(cli: CommandLine) -> None:
    write_agent(cli.folder / "parrot")
    with cli.console("--local", "--template-id", "./parrot") as (url, process):
        answer = sent(url, "/invocations", OWN, "POST", b'{"prompt": "heard"}')
        assert answer.result == 1
        (sandbox,) = SyncLocalSandboxProvider(cli.home).list_sandboxes()
        with cli.console("--local", "--session-id", sandbox.session_id) as (again, _):
            assert sent(again, "/invocations", OWN, "POST", b'{"prompt": "heard"}').result == 2
        assert len(SyncLocalSandboxProvider(cli.home).list_sandboxes()) == 1
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 130
    assert SyncLocalSandboxProvider(cli.home).list_sandboxes() == []


@pytest.mark.slow
def test_wrong_use_is_told(cli: CommandLine) -> None:
    two = cli.run("console", "--url", "http://127.0.0.1:1", "--session-id", "s")
    assert (two.code, "--url, --session-id" in two.err) == (2, True)
    nobody = cli.run("console")
    assert (nobody.code, "Which agent?" in nobody.err) == (2, True)
    gone = cli.run("console", "--local", "--session-id", "nothing")
    assert (gone.code, "nothing" in gone.err) == (3, True)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        busy = cli.run("console", "--url", "http://127.0.0.1:1", "--port", port)
    assert (busy.code, f"Port {port} is in use" in busy.err) == (1, True)


@pytest.mark.slow
def test_without_the_runtime_it_says_what_to_install(cli: CommandLine) -> None:
    program = (
        "import sys\nsys.modules['ppio_agent_runtime'] = None\n"
        "from ppio_agent_client.cli.app import run\n"
        "raise SystemExit(run(['console', '--url', 'http://127.0.0.1:1', '--json'], 'ppio-agent'))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=cli.variables({}), capture_output=True, text=True, check=False
    )
    error = json.loads(ended.stderr.splitlines()[-1])["error"]
    assert ended.returncode == 1
    assert "ppio-agent-runtime" in error["message"]
    assert error["hint"].startswith("Run: pip install ppio-agent-runtime")


@pytest.mark.slow
def test_page_of_another_origin_cannot_use_it(page: str, agent: tuple[str, list[Any]]) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (dependency group test-backends)")
    chromium = shutil.which("chromium") or pytest.skip("needs the program chromium")
    before = len(agent[1])
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hostile)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with api.sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            tab = browser.new_page()
            tab.goto(f"http://localhost:{server.server_port}/page")
            outcome = tab.evaluate(
                """async (url) => {
                    const tries = [
                        [`${url}/ping`, {}],
                        [`${url}/invocations`, {method: "POST", headers: {"X-PPIO-Console": "1"}, body: "{}"}],
                        [`${url}/invocations`, {method: "POST", mode: "no-cors", body: "{}"}],
                    ];
                    return await Promise.all(tries.map(async ([to, how]) => {
                        try { return (await fetch(to, how)).type; } catch (error) { return error.name; }
                    }));
                }""",
                page,
            )
            browser.close()
    finally:
        server.shutdown()
        server.server_close()
    assert outcome == ["TypeError"] * 3
    assert len(agent[1]) == before


@pytest.mark.slow
def test_page_of_dev_shows_what_the_agent_prints(cli: CommandLine) -> None:
    (cli.folder / ".ppio-agent.yaml").write_text('metadata: {"name": "a"}\nspec:\n  entrypoint: main.py\n')
    (cli.folder / "main.py").write_text(
        "from ppio_agent_runtime import PPIOAgentRuntimeApp\napp = PPIOAgentRuntimeApp()\n"
        "@app.entrypoint\ndef answer(payload: dict):\n    print('hello from', payload['name'])\n"
    )
    port = str(free_port())
    with cli.terminal("dev", "--port", port) as terminal:
        terminal.wait_for("curl -N.*\n")
        url = f"http://127.0.0.1:{port}"
        assert b"<script" in call(url, "/", method="GET", headers=BROWSER).body
        assert call(url, body=b'{"name": "Ada"}').status == 200
        with Connection(url) as connection:
            connection.send(b"GET /console/log HTTP/1.1\r\nHost: localhost\r\n\r\n")
            connection.read_head()
            line = next(event.data for event in connection.events() if event.data["source"] == "stdout")
        assert line["message"] == "hello from Ada"
        terminal.wait_for("hello from Ada")
