"""Who asks and for how long: headers first, the body's own hints where they have the right type."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.raw_http import Answer, Connection, invoke

pytestmark = pytest.mark.contract

CEILING = 100.0


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = PPIOAgentRuntimeApp(AgentConfig(timeout=CEILING))

    @app.entrypoint
    async def handler(payload: dict[str, Any], context: RequestContext) -> Any:
        return {
            "payload": payload,
            "session": context.session_id,
            "user": context.user_id,
            "request": context.request_id,
            "invocation": context.invocation_id,
            "timeout": context.timeout,
            "metadata": context.metadata,
            "headers": dict(context.headers),
        }

    with running(app) as address:
        yield address


def ask(url: str, headers: dict[str, str] | None = None, /, **body: object) -> Answer:
    return invoke(url, body, headers)


SESSIONS = [
    "plain",
    "a b",
    "a/b?c=d&e#f",
    "100%",
    "ünï 代理 \U0001f600",
    "line\nbreak\r\n",
    '"quoted\\"',
    "x" * 256,
    "代" * 256,
]


@pytest.mark.parametrize("session", SESSIONS)
def test_session_id_is_percent_decoded(url: str, session: str) -> None:
    assert ask(url, {"X-PPIO-Session-Id": quote(session, safe="")}).result["session"] == session


@pytest.mark.parametrize("session", SESSIONS)
def test_session_id_comes_back_percent_encoded_and_in_the_envelope(url: str, session: str) -> None:
    answer = ask(url, {"X-PPIO-Session-Id": quote(session, safe="")})

    assert answer.headers["x-ppio-session-id"] == quote(session, safe="")
    assert answer.json["metadata"]["session_id"] == session


@pytest.mark.parametrize(("sent", "session"), [("a+b", "a+b"), ("50%", "50%"), ("%zz", "%zz"), ("a%2Fb/c", "a/b/c")])
def test_session_id_that_is_not_quite_encoded_is_taken_as_it_is(url: str, sent: str, session: str) -> None:
    assert ask(url, {"X-PPIO-Session-Id": sent}).result["session"] == session


@pytest.mark.parametrize("sent", ["%ff", "a%C3", "%ED%A0%80", "\xff"])
def test_session_id_that_is_no_utf8_is_400(url: str, sent: str) -> None:
    answer = call(url, body=b"{}", headers={"X-PPIO-Session-Id": sent})

    assert "X-PPIO-Session-Id" in refusal(answer, 400, "BadRequestError")


@pytest.mark.parametrize("session", ["x" * 257, "代" * 257])
def test_session_id_over_256_characters_is_400(url: str, session: str) -> None:
    sentence = refusal(ask(url, {"X-PPIO-Session-Id": quote(session)}), 400, "BadRequestError")

    assert sentence == "The session id has 257 characters; at most 256 are allowed."


def test_no_session_is_none_and_no_header(url: str) -> None:
    answer = ask(url)

    assert answer.result["session"] is None
    assert "x-ppio-session-id" not in answer.headers


@pytest.mark.parametrize("field", ["session_id", "sandbox_id"])
def test_session_id_of_the_body_counts_without_a_header(url: str, field: str) -> None:
    answer = ask(url, **{field: "from body ü"})

    assert answer.result["session"] == "from body ü"
    assert answer.headers["x-ppio-session-id"] == quote("from body ü")


def test_session_id_of_the_body_counts_before_the_sandbox_id(url: str) -> None:
    assert ask(url, session_id="session", sandbox_id="sandbox").result["session"] == "session"


def test_session_id_of_the_header_counts_before_the_body(url: str) -> None:
    assert ask(url, {"X-PPIO-Session-Id": "header"}, session_id="body").result["session"] == "header"


def test_empty_session_header_leaves_it_to_the_body(url: str) -> None:
    assert ask(url, {"X-PPIO-Session-Id": ""}, session_id="body").result["session"] == "body"


@pytest.mark.parametrize("value", [1, None, ["a"], "", "x" * 257, {"id": "a"}, True])
def test_session_id_of_another_type_in_the_body_is_no_session(url: str, value: object) -> None:
    assert ask(url, session_id=value).result["session"] is None


def test_agentcore_names_are_read_too(url: str) -> None:
    result = ask(
        url,
        {
            "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "session%20",
            "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id": "request",
            "X-Amzn-Bedrock-AgentCore-Runtime-User-Id": "user",
        },
    ).result

    assert (result["session"], result["request"], result["user"]) == ("session%20", "request", "user")


def test_own_names_count_before_agentcore_names(url: str) -> None:
    result = ask(
        url,
        {
            "X-PPIO-Session-Id": "s",
            "X-PPIO-Request-Id": "r",
            "X-PPIO-User-Id": "u",
            "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "session",
            "X-Amzn-Bedrock-AgentCore-Runtime-Request-Id": "request",
            "X-Amzn-Bedrock-AgentCore-Runtime-User-Id": "user",
        },
    ).result

    assert (result["session"], result["request"], result["user"]) == ("s", "r", "u")


@pytest.mark.parametrize("name", ["X-PPIO-Request-Id", "x-ppio-request-id", "X-Request-Id"])
def test_request_id_of_the_caller_is_repeated_everywhere(url: str, name: str) -> None:
    answer = ask(url, {name: "abc-1.2_3:4/5"})

    assert answer.result["request"] == "abc-1.2_3:4/5"
    assert answer.headers["x-ppio-request-id"] == "abc-1.2_3:4/5"
    assert answer.json["metadata"]["request_id"] == "abc-1.2_3:4/5"


@pytest.mark.parametrize("unsafe", ["a b", 'a"b', "a\\b", "a\tb", "\xfc", "x" * 257, ""])
def test_request_id_that_is_not_safe_to_repeat_is_replaced(url: str, unsafe: str) -> None:
    answer = call(url, body=b"{}", headers={"X-PPIO-Request-Id": unsafe})

    assert re.fullmatch(r"[0-9a-f]{32}", answer.result["request"])
    assert answer.headers["x-ppio-request-id"] == answer.result["request"]


def test_request_and_invocation_ids_are_made_for_each_call(url: str) -> None:
    first, second = ask(url).result, ask(url).result

    assert len({first["request"], first["invocation"], second["request"], second["invocation"]}) == 4


def test_invocation_id_is_in_the_response_header(url: str) -> None:
    answer = ask(url)

    assert answer.headers["x-ppio-invocation-id"] == answer.result["invocation"]


def test_protocol_is_in_the_response_header_whether_asked_for_or_not(url: str) -> None:
    assert ask(url).headers["ppio-agent-protocol"] == "1"


def test_user_id_reaches_the_context(url: str) -> None:
    assert ask(url, {"X-PPIO-User-Id": "u-1"}).result["user"] == "u-1"


def test_request_headers_reach_the_context_in_lower_case(url: str) -> None:
    assert ask(url, {"X-Own-Thing": "Value"}).result["headers"]["x-own-thing"] == "Value"


@pytest.mark.parametrize(("sent", "seconds"), [("5", 5.0), ("0.25", 0.25), (".5", 0.5), ("5.", 5.0), ("1e1", 10.0)])
def test_timeout_header_limits_the_call(url: str, sent: str, seconds: float) -> None:
    assert ask(url, {"X-PPIO-Timeout": sent}).result["timeout"] == seconds


@pytest.mark.parametrize("sent", ["1000", "1e30", "9" * 20])
def test_configured_timeout_is_the_ceiling_of_a_requested_one(url: str, sent: str) -> None:
    assert ask(url, {"X-PPIO-Timeout": sent}).result["timeout"] == CEILING


@pytest.mark.parametrize(
    "sent", ["0", "-1", "nan", "inf", "Infinity", "x", "", "1_0", "5s", "1,5", "+5", "0x10", "1 2", "1e999", "9" * 5000]
)
def test_timeout_header_that_is_no_number_above_zero_is_400(url: str, sent: str) -> None:
    assert "X-PPIO-Timeout" in refusal(ask(url, {"X-PPIO-Timeout": sent}), 400, "BadRequestError")


def test_timeout_of_the_body_counts_without_a_header(url: str) -> None:
    assert ask(url, timeout=7).result["timeout"] == 7.0


def test_timeout_of_the_header_counts_before_the_body(url: str) -> None:
    assert ask(url, {"X-PPIO-Timeout": "5"}, timeout=7).result["timeout"] == 5.0


@pytest.mark.parametrize("value", ["7", 0, -1, True, None, [7]])
def test_timeout_of_another_type_in_the_body_limits_nothing(url: str, value: object) -> None:
    assert ask(url, timeout=value).result["timeout"] == CEILING


def test_huge_timeout_in_the_body_is_the_ceiling(url: str) -> None:
    assert ask(url, timeout=10**400).result["timeout"] == CEILING


def test_metadata_of_the_body_reaches_the_context(url: str) -> None:
    assert ask(url, metadata={"a": [1]}).result["metadata"] == {"a": [1]}


@pytest.mark.parametrize("value", ["text", 1, None, [1]])
def test_metadata_of_another_type_is_empty_in_the_context(url: str, value: object) -> None:
    assert ask(url, metadata=value).result["metadata"] == {}


def test_payload_reaches_the_handler_unchanged(url: str) -> None:
    body: dict[str, Any] = {
        "session_id": 5,
        "sandbox_id": "s",
        "timeout": "soon",
        "stream": "maybe",
        "metadata": [1],
        "prompt": None,
    }

    assert ask(url, **body).result["payload"] == body


def test_ids_are_in_errors_too(url: str) -> None:
    answer = call(url, body=b"[]", headers={"X-PPIO-Request-Id": "mine"})

    refusal(answer, 422, "PayloadValidationError")
    assert answer.headers["x-ppio-request-id"] == "mine"
    assert answer.headers["ppio-agent-protocol"] == "1"


def test_answers_on_one_connection_belong_to_their_own_requests(url: str) -> None:
    with Connection(url) as connection:
        ids = []
        for number in range(3):
            connection.post({}, {"X-PPIO-Request-Id": f"r{number}"})
            ids.append(connection.read_answer().result["request"])

    assert ids == ["r0", "r1", "r2"]


def test_success_envelope_has_exactly_the_fields_of_the_contract(url: str) -> None:
    envelope = ask(url).json

    assert envelope.keys() == {"result", "status", "duration", "metadata", "error", "error_type"}
    assert (envelope["status"], envelope["error"], envelope["error_type"]) == ("success", None, None)
    assert envelope["metadata"].keys() == {"request_id", "session_id"}
    assert envelope["duration"] >= 0
