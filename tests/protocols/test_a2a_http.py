"""What A2A is on the wire: the card, errors and limits with their status, traces and metrics."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.protocols.a2a_client import (
    answered,
    connected,
    rpc,
    saying,
)
from tests.protocols.agent import TEXT, Clock, serving
from tests.runtime.test_logging import agent_process
from tests.support.calls import call
from tests.support.gates import eventually
from tests.support.otlp_sink import collecting

pytestmark = pytest.mark.contract

WHOLE = ["".join(TEXT[:2]), TEXT[2]]
CARD = "/.well-known/agent-card.json"


def test_the_card_says_where_and_with_which_key() -> None:
    with serving(Clock(), ["a2a"], api_keys=["k"], agent_description="Tells the time.") as url:
        told = call(url, CARD, method="GET", headers={"Host": "agent.example:81"})
    with serving(
        Clock(), ["a2a"], public_url="https://e.example/agents/", agent_card_public=False, api_keys=["k"]
    ) as url:
        hidden = call(url, CARD, method="GET")
        public = call(url, CARD, method="GET", headers={"Authorization": "Bearer k"})

    card = told.json
    found = [(each["protocolBinding"], each["protocolVersion"], each["url"]) for each in card["supportedInterfaces"]]
    assert found == [
        ("JSONRPC", "1.0", "http://agent.example:81/a2a"),
        ("HTTP+JSON", "1.0", "http://agent.example:81/a2a/rest"),
        ("JSONRPC", "0.3", "http://agent.example:81/a2a"),
        ("HTTP+JSON", "0.3", "http://agent.example:81/a2a/rest"),
    ]
    assert (card["name"], card["description"]) == ("clock", "Tells the time.")
    assert card["protocolVersion"].startswith("0.3")
    assert card["securitySchemes"]["bearer"]["httpAuthSecurityScheme"]["scheme"] == "bearer"
    assert hidden.status == 401
    assert (told.headers["cache-control"], len(told.headers["etag"])) == ("public, max-age=60", 34)
    assert told.headers["last-modified"].endswith(" GMT")
    assert public.headers["cache-control"] == "private, max-age=60"
    assert public.json["url"] == "https://e.example/agents/a2a"


def test_errors_are_told_in_the_words_of_either_binding() -> None:
    with serving(Clock(), ["a2a"], api_keys=["k"], max_request_size=500) as url:
        key = {"Authorization": "Bearer k", "A2A-Version": "1.0"}
        closed = rpc(url, "GetTask", {"id": "x"})
        closed_rest = call(url, "/a2a/rest/tasks/x", method="GET")
        large = rpc(url, "GetTask", {"id": "x" * 600}, **key)
        no_json = call(url, "/a2a", body=b"{", headers=key)
        no_json_type = call(url, "/a2a", body=b"{}", headers={**key, "Content-Type": "text/plain"})
        wrong = call(url, "/a2a/rest/tasks/x", method="DELETE", headers=key)
        nowhere = call(url, "/a2a/rest/x", method="GET", headers=key)
        unknown = rpc(url, "Unknown", {}, **key)
        missing = rpc(url, "SendMessage", {"message": {}}, **key)
        missing_rest = call(url, "/a2a/rest/message:send", body=b"{}", headers=key)
        cancel = call(url, "/a2a/rest/tasks/x:cancel", headers=key, body=b"")
        not_one = rpc(url, "GetTask", {"id": "x"}, **key, **{"X-PPIO-Timeout": "soon"})

    assert (closed.status, closed.json["jsonrpc"], closed.json["error"]["code"]) == (401, "2.0", -32600)
    assert closed.json["error"]["data"][0]["reason"] == "AuthenticationError"
    assert closed_rest.status == 401
    assert closed_rest.json["error"]["status"] == "UNAUTHENTICATED"
    assert (large.status, large.json["error"]["code"]) == (413, -32600)
    assert (no_json.status, no_json.json["error"]["code"]) == (400, -32700)
    assert (no_json_type.status, no_json_type.json["error"]["code"]) == (415, -32005)
    assert (wrong.status, wrong.json["error"]["status"]) == (405, "UNIMPLEMENTED")
    assert (nowhere.status, nowhere.json["error"]["status"]) == (404, "NOT_FOUND")
    assert (unknown.json["id"], unknown.json["error"]["code"]) == (7, -32601)
    assert missing.json["error"]["code"] == -32602
    assert missing_rest.json["error"]["status"] == "INVALID_ARGUMENT"
    assert (cancel.status, cancel.json["error"]["details"][0]["reason"]) == (404, "TASK_NOT_FOUND")
    assert (not_one.status, not_one.json["error"]["code"]) == (400, -32600)


def test_an_address_may_end_with_a_slash() -> None:
    with serving(Clock(), ["a2a"]) as url:
        answer = rpc(url, "GetTask", {"id": "x"}, path="/a2a/")

    assert (answer.status, answer.json["error"]["code"]) == (200, -32001)


async def test_limits_have_a_status_and_a_time_to_come_again() -> None:
    clock = Clock()
    with serving(clock, ["a2a"], max_concurrency_per_session=1) as url:
        message = {"messageId": "m", "role": "ROLE_USER", "contextId": "c", "parts": [{"text": "wait"}]}
        now = {"returnImmediately": True}
        task = rpc(url, "SendMessage", {"message": message, "configuration": now}).json["result"]["task"]
        eventually(lambda: len(clock.asked) == 1, "it runs")
        busy = rpc(url, "SendMessage", {"message": {**message, "messageId": "n"}})
        rpc(url, "CancelTask", {"id": task["id"]})
    with serving(clock, ["a2a"], rate_limit="1/60") as url:
        first, second = (rpc(url, "SendMessage", {"message": {**message, "parts": [{"text": t}]}}) for t in "ab")

    assert (busy.status, busy.json["error"]["data"][0]["reason"]) == (409, "SessionBusyError")
    assert (first.status, second.status, second.json["error"]["code"]) == (200, 429, -32600)
    assert busy.headers["retry-after"]
    assert second.headers["retry-after"]
    assert {"ratelimit", "x-ppio-invocation-id", "x-request-id"} <= first.headers.keys()


def test_at_the_root_it_stands_beside_the_descriptions_of_the_service() -> None:
    with serving(Clock(), ["a2a"], protocol_paths={"a2a": "/"}) as url:
        message = {"messageId": "m", "role": "ROLE_USER", "parts": [{"text": "time?"}]}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "SendMessage", "params": {"message": message}}).encode()
        answer = call(url, "/", body=body, headers={"A2A-Version": "1.0"})
        service = call(url, "/", method="GET").json
        card = call(url, CARD, method="GET").json
        wrong = call(url, "/", body=b"{")
        task = answer.json["result"]["task"]
        found = call(url, f"/rest/tasks/{task['id']}", method="GET", headers={"A2A-Version": "1.0"}).json

    assert task["status"]["state"] == "TASK_STATE_COMPLETED"
    assert service["service"] == "ppio-agent-runtime"
    assert card["url"].endswith("localhost/")
    assert wrong.json["error"]["code"] == -32700
    assert found["id"] == task["id"]


@pytest.mark.slow
def test_the_program_of_the_page_talks_to_the_agent(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "protocols.md").read_text("utf-8")
    program = re.search(r"^```\n(import asyncio\n\nfrom a2a.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert program is not None
    with serving(Clock(), ["a2a"]) as url:
        (tmp_path / "program.py").write_text(program[1].replace("http://localhost:8080", url), "utf-8")
        finished = subprocess.run(
            [sys.executable, tmp_path / "program.py"], capture_output=True, text=True, check=True, timeout=100
        )

    assert finished.stdout == "".join(TEXT) + WHOLE[0] + "\n"


def test_a2a_sdk_is_imported_for_the_first_request_and_named_where_it_is_missing() -> None:
    program = """
import sys
sys.modules.update({missing: None for missing in sys.argv[1:]})
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
PPIOAgentRuntimeApp(AgentConfig(protocols=["a2a"], host="127.0.0.1")).stack
print([name for name in sys.modules if name.partition(".")[0] in ("a2a", "google", "fastapi")])
"""
    command = [sys.executable, "-c", program]
    there = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    missing = subprocess.run([*command, "a2a"], capture_output=True, text=True, check=False, timeout=60)

    assert there.stdout.strip() == "[]"
    assert "pip install 'ppio-agent-runtime[a2a]'" in missing.stderr


AGENT = """
    from ppio_agent_runtime import PPIOAgentRuntimeApp
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def agent(request: dict):
        return request["prompt"]
"""


@pytest.mark.slow
def test_a_request_and_its_run_have_a_span_each_in_the_trace_of_its_caller(tmp_path: Path) -> None:
    message = {"messageId": "m", "role": "ROLE_USER", "contextId": "c", "parts": [{"text": "x"}]}
    trace_id, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    with collecting() as sink:
        settings = {"OTEL_EXPORTER_OTLP_ENDPOINT": sink.url, "PPIO_AGENT_PROTOCOLS": "a2a"}
        with agent_process(tmp_path, AGENT, **settings) as (url, _):
            rpc(url, "SendMessage", {"message": message}, traceparent=f"00-{trace_id}-{caller}-01")
        spans = {received.span.name: received for received in sink.received}

    assert spans.keys() == {"POST /a2a", "invoke_agent main.agent"}
    assert {received.span.trace_id.hex() for received in spans.values()} == {trace_id}
    assert spans["invoke_agent main.agent"].attributes["gen_ai.conversation.id"] == "c"


async def test_metrics_count_it_by_its_name() -> None:
    with serving(Clock(), ["a2a"]) as url:
        async with connected(url, streaming=False) as client:
            await answered(client, saying("time?"))
        metrics = call(url, "/metrics", method="GET").body.decode()

    assert 'protocol="a2a"' in metrics
