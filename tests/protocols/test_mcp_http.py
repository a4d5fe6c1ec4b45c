"""What MCP is on the wire: keys, host names, hang-ups, traces and metrics."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.protocols.agent import Clock, serving
from tests.protocols.mcp_client import ACCEPT, MODERN, WHOLE, Mode, ask, post
from tests.support.calls import call
from tests.support.gates import eventually
from tests.support.raw_http import Connection

pytestmark = [
    pytest.mark.contract,
    pytest.mark.filterwarnings("ignore::mcp.shared.exceptions.MCPDeprecationWarning"),
]


@pytest.fixture
def url(clock: Clock) -> Iterator[str]:
    with serving(clock, ["mcp"]) as url:
        yield url


@pytest.mark.parametrize("version", ["2026-07-28", "2025-11-25"])
def test_a_caller_who_hangs_up_cancels_the_call(url: str, version: str, clock: Clock) -> None:
    headers = {**ACCEPT, "MCP-Protocol-Version": version}
    meta: dict[str, Any] = {"progressToken": 1}
    if version == "2026-07-28":
        headers |= {"Mcp-Method": "tools/call", "Mcp-Name": "clock"}
        meta |= MODERN
    else:
        hello = {"protocolVersion": version, "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        opened = call(url, "/mcp", body=json.dumps(body).encode(), headers=ACCEPT)
        headers |= {"Mcp-Session-Id": opened.headers["mcp-session-id"]}
        said = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert call(url, "/mcp", body=json.dumps(said).encode(), headers=headers).status == 202
    params = {"name": "clock", "arguments": {"prompt": "wait"}, "_meta": meta}
    with Connection(url) as connection:
        connection.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}, headers, path="/mcp")
        connection.read_head()
        eventually(lambda: clock.contexts != [], "the agent works")
        connection.reset()
    eventually(lambda: clock.closed == 1, "the generator is closed")


def test_keys_and_sizes_are_refused_in_the_words_of_json_rpc(clock: Clock, mode: Mode) -> None:
    with serving(clock, ["mcp"], api_keys=["key"], max_request_size=2000) as url:
        told = ask(url, mode, "time?", headers={"Authorization": "Bearer key"})[0]
        refused = post(url, "tools/list", {})
        large = post(url, "tools/list", {"cursor": "x" * 2000}, Authorization="Bearer key")
        no_json = call(url, "/mcp", body=b"{", headers={**ACCEPT, "Authorization": "Bearer key"})
        get = call(url, "/mcp", method="GET", headers={"Authorization": "Bearer key"})

    assert told.content[0].text == WHOLE
    assert clock.contexts[0].key_id is not None
    assert set(get.headers["allow"].split(", ")) == {"POST", "DELETE"}  # no messages are sent outside of answers
    for answer, status, code in ((refused, 401, -32600), (large, 413, -32600), (get, 405, -32600)):
        assert answer.status == status
        error = json.loads(answer.body)["error"]
        assert (error["code"], error["data"]["request_id"]) == (code, answer.headers["x-ppio-request-id"])
    assert json.loads(no_json.body)["error"]["code"] == -32700


@pytest.mark.parametrize(
    ("host", "named", "status"),
    [
        ("127.0.0.1", "8080-sandbox.example", 421),
        ("127.0.0.1", "localhost", 200),
        ("0.0.0.0", "8080-sandbox.example", 200),
    ],
)
def test_it_works_behind_any_name_but_on_loopback(clock: Clock, host: str, named: str, status: int) -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(protocols=["mcp"], host=host))
    app.entrypoint(clock)
    with running(app) as url:
        assert post(url, "tools/list", {}, Host=named).status == status


def test_without_sessions_any_session_id_is_taken_and_names_the_conversation(clock: Clock, mode: Mode) -> None:
    given = {"Mcp-Session-Id": "made-by-the-platform"}
    with serving(clock, ["mcp"], mcp_sessions=False) as url:
        result = ask(url, mode, "time?", "time?", headers=given)[1]
    with serving(clock, ["mcp"]) as url:
        hello = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        body = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": hello}
        unknown = call(url, "/mcp", body=json.dumps(body).encode(), headers=ACCEPT | given)

    assert result.content[0].text == WHOLE
    assert {context.session_id for context in clock.contexts} == {"made-by-the-platform"}
    assert unknown.status == 404


def test_each_life_of_an_app_has_sessions_of_its_own(clock: Clock, mode: Mode) -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(protocols=["mcp"], agent_name="clock", host="127.0.0.1"))
    app.entrypoint(clock)
    for _ in range(2):
        with running(app) as url:
            assert ask(url, mode, "time?")[0].content[0].text == WHOLE


def test_metrics_count_by_protocol(url: str, mode: Mode) -> None:
    ask(url, mode, "time?")
    metrics = call(url, "/metrics", method="GET").body.decode()

    assert any('protocol="mcp"' in line and line.endswith(" 1.0") for line in metrics.splitlines())


def test_the_trace_of_the_message_goes_before_that_of_the_request(url: str, clock: Clock) -> None:
    traces = [f"00-{digit * 32}-{'1' * 16}-01" for digit in "ab"]
    arguments = {"name": "clock", "arguments": {"prompt": "time?"}}
    post(url, "tools/call", arguments, Traceparent=traces[0])
    post(url, "tools/call", {**arguments, "_meta": {**MODERN, "traceparent": traces[1]}}, Traceparent=traces[0])

    assert [context.header_values(b"traceparent") for context in clock.contexts] == [[traces[0]], [traces[1]]]


def test_nothing_of_it_is_imported_before_the_app_serves_nor_without_it() -> None:
    program = """
import sys
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
for protocols in [], ["mcp"]:
    PPIOAgentRuntimeApp(AgentConfig(protocols=protocols, api_keys=["k"])).stack
    print([name for name in sys.modules if name.partition(".")[0] in ("mcp", "mcp_types", "httpx2", "fastapi")])
"""
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)

    assert finished.stdout.split("\n") == ["[]", "[]", ""]


def test_a_missing_package_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'ppio-agent-runtime\[mcp\]'"):
        PPIOAgentRuntimeApp(AgentConfig(protocols=["mcp"]))
    PPIOAgentRuntimeApp(AgentConfig(protocols=["all"]))
