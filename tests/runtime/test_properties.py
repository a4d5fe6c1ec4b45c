"""What holds for every value and all bytes: JSON comes back as it went, and nothing that is sent breaks the runtime."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ppio_agent_models import AgentClientError, SerializationError
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.http.request import wanted_form
from ppio_agent_runtime.http.sse import chunk_block, plain_events
from ppio_agent_runtime.observability.health import read_answer
from ppio_agent_runtime.serialization import decode, encode
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.raw_http import EVENT_STREAM, PROTOCOL_1, Connection

# The server is shared by all examples on purpose, and a slow machine is no failure.
over_the_wire = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
in_memory = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(texts, inner, max_size=5), max_leaves=20
)
bodies = st.binary(max_size=200) | values.map(lambda value: json.dumps(value).encode()[:-1])
header_values = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    async def echo(payload: Any) -> Any:
        return payload

    with running(app) as address:
        yield address


@pytest.mark.contract
def test_the_strategies_reach_the_agent(url: str) -> None:
    assert call(url, body=b"1").result == 1


@pytest.mark.contract
@over_the_wire
@given(value=values)
def test_json_value_comes_back_as_it_went(url: str, value: Any) -> None:
    assert call(url, body=json.dumps(value).encode()).result == value


@pytest.mark.contract
@over_the_wire
@given(value=values)
def test_json_value_comes_back_through_both_framings(url: str, value: Any) -> None:
    body = json.dumps(value, ensure_ascii=False).encode()

    plain = call(url, body=body, headers=EVENT_STREAM).events
    numbered = call(url, body=body, headers={**EVENT_STREAM, **PROTOCOL_1}).events

    assert [event.data for event in plain] == [value]
    assert [(event.kind, event.event_id) for event in numbered] == [("chunk", 1), ("done", 2)]
    assert numbered[0].data == value


@pytest.mark.contract
@over_the_wire
@given(body=bodies)
def test_any_body_is_taken_or_refused_as_the_callers_fault(url: str, body: bytes) -> None:
    answer = call(url, body=body)

    if answer.status != 200:
        refusal(answer, 400, "BadRequestError")


@pytest.mark.contract
@over_the_wire
@given(
    name=st.sampled_from(
        [
            "Accept",
            "Content-Type",
            "Content-Encoding",
            "X-PPIO-Session-Id",
            "X-PPIO-Request-Id",
            "X-PPIO-User-Id",
            "X-PPIO-Timeout",
            "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id",
            "PPIO-Agent-Protocol",
            "Origin",
        ]
    ),
    value=header_values,
)
def test_any_header_is_taken_or_refused_as_the_callers_fault(url: str, name: str, value: str) -> None:
    answer = call(url, body=b"1", headers={name: value})

    if answer.status != 200:
        assert answer.status in (400, 406, 415)
        refusal(answer, answer.status, answer.json["error_type"])


@pytest.mark.contract
@over_the_wire
@given(data=st.binary(min_size=1, max_size=100))
def test_any_bytes_instead_of_a_request_are_400(url: str, data: bytes) -> None:
    with Connection(url) as connection:
        connection.send(data)
        connection.half_close()
        answer = connection.read_to_the_end()

    assert answer == b"" or answer.startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 404 ", b"HTTP/1.0 400 "))


@in_memory
@given(body=bodies)
def test_decoding_takes_what_python_takes_or_says_bad_request(body: bytes) -> None:
    with suppress(AgentClientError):
        decoded = decode(body)
        assert decoded == json.loads(body)


@in_memory
@given(value=values)
def test_decoding_takes_what_encoding_makes(value: Any) -> None:
    assert decode(encode(value)) == value


@in_memory
@given(value=st.recursive(st.text() | st.floats(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
@pytest.mark.slow
def test_encoding_makes_json_in_ascii_or_utf8_on_one_line_or_says_why(value: Any) -> None:
    with suppress(SerializationError):
        encoded = encode(value)
        json.loads(encoded.decode(), parse_constant=pytest.fail)
        assert b"\n" not in encoded


@in_memory
@given(
    accept=st.binary(max_size=80)
    | st.lists(st.sampled_from([*"*/;,=q01.5 ", "text", "json"])).map(lambda parts: "".join(parts).encode())
)
def test_any_accept_is_a_form_or_not_acceptable(accept: bytes) -> None:
    with suppress(AgentClientError):
        assert wanted_form(accept) in ("json", "stream", None)


@in_memory
@given(answer=st.recursive(scalars, lambda inner: st.dictionaries(st.sampled_from(["status", "message", "x"]), inner)))
def test_any_ping_answer_is_one_of_three_words(answer: Any) -> None:
    assert read_answer(answer)[0] in ("Healthy", "HealthyBusy", "Unhealthy")


@in_memory
@given(batches=st.lists(st.lists(values, min_size=1, max_size=5), max_size=5))
@pytest.mark.slow
def test_framing_does_not_depend_on_how_chunks_are_batched(batches: list[list[Any]]) -> None:
    encoded = [[encode(value) for value in batch] for batch in batches]
    every = [chunk for batch in encoded for chunk in batch]

    assert b"".join(map(plain_events, encoded)) == b"".join(plain_events([chunk]) for chunk in every)
    first_ids = accumulate(map(len, encoded), initial=1)
    assert b"".join(map(chunk_block, encoded, first_ids)) == chunk_block(every, 1)
