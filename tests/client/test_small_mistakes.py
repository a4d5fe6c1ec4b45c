"""What a stranger gets wrong at first is told in one sentence: what, where, and what to do instead."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from ppio_agent_client import (
    AgentClientError,
    ClientConfig,
    ConfigurationError,
    DefaultHttpxClient,
    InvocationRequest,
    SerializationError,
    SyncAgentRuntimeClient,
    SyncLocalSandboxProvider,
)
from ppio_agent_client.testing import FakeAgent

pytestmark = pytest.mark.contract


class Thing:
    """Has no JSON form."""


async def coroutine() -> None:
    pass


def nested() -> dict[str, Any]:
    value: dict[str, Any] = {}
    value["me"] = value
    return value


URLS: list[tuple[Any, str]] = [
    (None, "a str, not NoneType; is a variable of the environment not set?"),
    (b"http://agent", "a str, not bytes"),
    (httpx.URL("http://agent"), "a str, not URL"),
    ("", "this one is empty"),
    ("localhost:8080", "no scheme: did you mean 'http://localhost:8080'?"),
    ("http://agent/a\nb", r"character 15 of this one is U\+000A"),
    ("http://agent/invocations", "ends with /invocations, which the SDK adds"),
    ("http://agent/invocations/", "ends with /invocations, which the SDK adds"),
]


@pytest.mark.parametrize(("url", "told"), URLS)
def test_a_wrong_address_is_told(url: Any, told: str) -> None:
    with SyncAgentRuntimeClient() as client, pytest.raises(ConfigurationError, match=told):
        client.attach(url)


@pytest.mark.parametrize(
    ("token", "told"),
    [
        (5, "a str, not int"),
        ("Bearer abc", "without the word in front, 'Bearer'"),
        ("'abc'", "quotation marks"),
        ("ab\ncd", "character 3 of 5 is not printable ASCII"),
    ],
)
def test_a_wrong_token_is_told_and_not_shown(token: Any, told: str) -> None:
    with SyncAgentRuntimeClient() as client, pytest.raises(ConfigurationError, match=told) as caught:
        client.attach("http://agent", token=token)
    assert "abc" not in str(caught.value)


def test_a_wrong_key_is_called_what_its_argument_is_called() -> None:
    client = SyncAgentRuntimeClient(api_key="sk_ä", base_url="http://127.0.0.1:1")
    with client, pytest.raises(ConfigurationError, match="the api_key cannot stand in a header: character 4 of 4"):
        client.list_templates()
    with pytest.raises(ConfigurationError) as caught:
        SyncAgentRuntimeClient(api_key=b"sk")  # type: ignore[arg-type]
    assert str(caught.value) == "api_key is a str, or a function that fetches one, not bytes"
    client = SyncAgentRuntimeClient(api_key="sk", base_url="api.example")
    with client, pytest.raises(ConfigurationError, match=r"base_url is .*'api\.example' has no scheme"):
        client.list_templates()


Call = Callable[[Any], object]  # what type checkers would refuse
CALLS: list[tuple[Call, str]] = [
    (lambda s: s.invoke("x", idempotency_key=7), "an idempotency key is a str, not int"),
    (lambda s: s.invoke("x", idempotency_key=""), "an idempotency key has at least one character"),
    (lambda s: s.invoke("x", idempotency_key="order-ä"), r"character 7 of this one is U\+00E4 \(ä\)"),
    (lambda s: s.invoke("x", idempotency_key="order\n"), r"character 6 of this one is U\+000A"),
    (lambda s: s.invoke("x", idempotency_key=" a"), "no space at its start or end: ' a'"),
    (lambda s: s.invoke("x", user_id=5), "a user id is a str, not int"),
    (lambda s: s.invoke("x", user_id="Zoë"), r"a user id is printable ASCII, and character 3 .* \(ë\)"),
    (lambda s: s.invoke({"user_id": "a "}), "a user id has no space at its start or end"),
    (lambda s: s.invoke("x", headers=[("a", "b")]), "a dict of names and values, not list"),
    (lambda s: s.invoke("x", headers={"X-A": None}), "the header X-A is a str, not NoneType"),
    (lambda s: s.invoke("x", headers={"X-A": b"b"}), "the header X-A is a str, not bytes"),
    (lambda s: s.invoke("x", result_type="Answer"), "a class, .* not 'Answer'"),
    (lambda s: s.invoke("x", result_type={"a": int}), "a class, .* not {'a'"),
    (lambda s: s.submit("x", timeout=-1), "seconds above 0, not -1"),
    (lambda s: s.submit("x", timeout="1"), "seconds above 0, not '1'"),
    (lambda s: s.stream("x", last_event_id=5), r"not int; .*events\(after=number\)"),
    (lambda s: s.stream("x", last_event_id="junk"), "'junk' was not sent by sse"),
    (lambda s: s.stream("x").sse(heartbeat_seconds=0), "above 0, not 0"),
    (lambda s: s.stream("x").ndjson(heartbeat_seconds=-1), "above 0, not -1"),
]


@pytest.mark.parametrize(("call", "told"), CALLS, ids=[told for _, told in CALLS])
def test_a_wrong_argument_of_a_call_is_told(call: Call, told: str, fake_agent: FakeAgent) -> None:
    fake_agent.will_return("unheard")
    with fake_agent.sync_client() as client, pytest.raises(ConfigurationError, match=told):
        call(client.attach(fake_agent.url))


REQUESTS: list[tuple[Callable[[], Any], str]] = [
    (Thing, r"request cannot become JSON: .*\.Thing has no JSON form; send plain data"),
    (lambda: {"a": [Thing()]}, r"request\.a\[0\] cannot"),
    (lambda: InvocationRequest, "it is the class InvocationRequest and no object of it"),
    (nested, r"request(\.me){11}.*\.\.\. cannot become JSON: it is nested too deeply, or in itself"),
]


@pytest.mark.parametrize(("make", "told"), REQUESTS, ids=[told for _, told in REQUESTS])
def test_a_request_that_is_no_data_is_told(make: Callable[[], Any], told: str, fake_agent: FakeAgent) -> None:
    with fake_agent.sync_client() as client, pytest.raises(SerializationError, match=told):
        client.attach(fake_agent.url).invoke(make())


def test_a_coroutine_is_to_be_awaited_first(fake_agent: FakeAgent) -> None:
    unawaited = coroutine()
    with fake_agent.sync_client() as client, pytest.raises(SerializationError, match="a coroutine: await it first"):
        client.attach(fake_agent.url).invoke(unawaited)
    unawaited.close()


def test_wrong_parts_of_a_client_are_told() -> None:
    with pytest.raises(ConfigurationError, match="config is a ClientConfig, not dict"):
        SyncAgentRuntimeClient(config={"timeout": 3})  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="the class SyncLocalSandboxProvider and no object of it"):
        SyncAgentRuntimeClient(provider=SyncLocalSandboxProvider)  # type: ignore[arg-type]
    client = SyncAgentRuntimeClient(provider="local")
    with client, pytest.raises(ConfigurationError, match=r"'http://agent' is an address and no template: .* attach"):
        client.invoke_agent("http://agent", "x")


def test_white_space_around_what_comes_from_a_file_is_left_out_and_told(
    fake_agent: FakeAgent, caplog: pytest.LogCaptureFixture
) -> None:
    fake_agent.will_return(1)
    caplog.set_level(logging.WARNING, "ppio_agent_client")
    with fake_agent.sync_client(ClientConfig(headers={"X-All": " a"})) as client:
        session = client.attach(f"{fake_agent.url}\n", token="t\n", headers={"X-Key": "k\n"})
        session.invoke("x")
    sent = fake_agent.requests[0].headers
    assert (sent["x-key"], sent["x-all"], sent["authorization"]) == ("k", "a", "Bearer t")
    told = [record.getMessage().partition(" has white space around it")[0] for record in caplog.records]
    assert sorted(told) == ["an agent's address", "the header X-All", "the header X-Key", "the token"]


def test_a_limit_of_the_layer_below_is_not_told_as_one_of_no_seconds() -> None:
    def silent(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("silent", request=request)

    with (
        DefaultHttpxClient(transport=httpx.MockTransport(silent)) as http_client,
        SyncAgentRuntimeClient(http_client=http_client, config=ClientConfig(max_retries=0)) as client,
        pytest.raises(AgentClientError, match=r"no response began in time$"),
    ):
        client.attach("http://agent").invoke("x")
