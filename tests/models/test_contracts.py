"""What travels: unknown fields are kept, known ones keep their meaning, and what was sent is what arrives."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from ppio_agent_models import (
    AgentMetadata,
    AgentTemplate,
    InvocationRequest,
    InvocationResponse,
    PingResponse,
    PingStatus,
    SandboxConfig,
    SessionInfo,
    SessionStatus,
    StreamEvent,
)
from ppio_agent_models._base import Contract

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(text, inner, max_size=4),
    max_leaves=10,
)
moments = st.datetimes(timezones=st.just(UTC))
strangers = st.dictionaries(st.from_regex(r"x_[a-z]{1,8}", fullmatch=True), json_values, max_size=3)

CONTRACTS: dict[type[Contract], dict[str, st.SearchStrategy[Any]]] = {
    InvocationRequest: {
        "prompt": st.none() | text,
        "data": st.none() | st.dictionaries(text, json_values, max_size=3),
        "session_id": st.none() | text,
        "timeout": st.none() | st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        "stream": st.booleans(),
        "metadata": st.none() | st.dictionaries(text, json_values, max_size=3),
    },
    InvocationResponse: {
        "result": json_values,
        "status": st.sampled_from(["success", "error"]),
        "duration": st.floats(min_value=0, allow_infinity=False),
        "metadata": st.none() | st.dictionaries(text, json_values, max_size=3),
        "error": st.none() | text,
        "error_type": st.none() | text,
    },
    PingResponse: {
        "status": st.sampled_from(PingStatus),
        "message": st.none() | text,
        "time_of_last_update": st.none() | st.integers(0, 2**40),
        "timestamp": st.none() | moments,
    },
    AgentMetadata: {"name": text, "version": text, "tags": st.lists(text, max_size=3), "created_at": moments},
    AgentTemplate: {
        "template_id": text,
        "name": text,
        "status": text,
        "updated_at": st.none() | moments,
        "metadata": st.dictionaries(text, json_values, max_size=3),
    },
    SandboxConfig: {
        "timeout_seconds": st.integers(1, 10**6),
        "env_vars": st.dictionaries(text, text, max_size=3),
        "metadata": st.dictionaries(text, text, max_size=3),
    },
    SessionInfo: {
        "session_id": text,
        "status": st.sampled_from(SessionStatus),
        "host_url": text,
        "created_at": st.none() | moments,
        "metadata": st.dictionaries(text, json_values, max_size=3),
    },
}
unhurried = settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine is not their mistake
every_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.__name__)


@every_contract
@unhurried
@given(data=st.data())
@pytest.mark.slow
def test_what_was_sent_as_json_is_what_arrives(contract: type[Contract], data: st.DataObject) -> None:
    fields = data.draw(st.fixed_dictionaries(CONTRACTS[contract]))
    sent = contract.model_validate(fields | data.draw(strangers))

    assert contract.model_validate_json(sent.model_dump_json()) == sent


@every_contract
@unhurried
@given(data=st.data())
def test_fields_of_a_newer_writer_are_kept(contract: type[Contract], data: st.DataObject) -> None:
    fields = data.draw(st.fixed_dictionaries(CONTRACTS[contract]))
    unknown = data.draw(strangers)
    passed_on = contract.model_validate(fields | unknown).model_dump(mode="json")

    assert {name: passed_on[name] for name in unknown} == unknown


@given(fields=st.fixed_dictionaries({}, optional=CONTRACTS[InvocationRequest]), unknown=strangers)
def test_a_request_sends_what_was_set_and_nothing_else(fields: dict[str, Any], unknown: dict[str, Any]) -> None:
    assert InvocationRequest.model_validate(fields | unknown).to_wire() == fields | unknown


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan"), "soon"])
def test_a_timeout_that_means_nothing_is_refused(seconds: object) -> None:
    with pytest.raises(ValidationError, match="timeout"):
        InvocationRequest.model_validate({"timeout": seconds})


def test_a_request_may_carry_fields_of_the_agents_own() -> None:
    request = InvocationRequest.model_validate({"query": "how much?", "stream": True})

    assert request.to_wire() == {"query": "how much?", "stream": True}


def test_an_answer_without_a_number_in_json_says_null() -> None:
    assert InvocationResponse(result=float("nan")).model_dump_json().startswith('{"result":null,')


def test_a_sandbox_without_a_life_is_refused() -> None:
    with pytest.raises(ValidationError, match="timeout_seconds"):
        SandboxConfig(timeout_seconds=0)


def test_environment_variables_do_not_show_when_printed() -> None:
    assert "hunter2" not in repr(SandboxConfig(env_vars={"TOKEN": "hunter2"}))


@pytest.mark.parametrize("status", [*PingStatus, *SessionStatus])
def test_a_status_is_the_word_on_the_wire(status: PingStatus | SessionStatus) -> None:
    assert str(status) == status.value
    assert f"{status}" == status


def test_times_are_read_with_their_zone() -> None:
    ping = PingResponse.model_validate({"status": "Healthy", "timestamp": "2026-01-02T03:04:05Z"})

    assert ping.timestamp == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_an_event_is_a_value_that_does_not_change() -> None:
    event = StreamEvent("chunk", {"n": 1}, 3)

    assert event == StreamEvent("chunk", {"n": 1}, event_id=3)
    with pytest.raises(AttributeError):
        event.event_id = 4  # type: ignore[misc]
