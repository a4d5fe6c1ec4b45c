"""What follows a loss, a refusal, a cut: nothing may run twice, and what can be had is had."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client import (
    AgentError,
    ConnectTimeoutError,
    EventsEvictedError,
    FirstByteTimeoutError,
    HandlerError,
    IdleTimeoutError,
    NetworkError,
    NotFoundError,
    StreamInterruptedError,
    TotalTimeoutError,
)
from ppio_agent_client._core.retry import (
    RetryAction,
    RetryState,
    after_cut,
    after_loss,
    after_refusal,
    after_return,
    is_own_end,
)

PROTOCOL = {"ppio-agent-protocol": "1"}
STREAM = {**PROTOCOL, "content-type": "text/event-stream"}
standings = st.builds(RetryState, is_safe=st.booleans(), has_key=st.booleans(), speaks_protocol=st.booleans())
errors = st.sampled_from(
    [NetworkError, IdleTimeoutError, FirstByteTimeoutError, ConnectTimeoutError, TotalTimeoutError]
)
statuses = st.integers(100, 599)
headers = st.sampled_from([{}, PROTOCOL, STREAM, {**PROTOCOL, "idempotency-replayed": "true"}])


@given(errors, standings)
def test_a_call_that_may_have_arrived_is_only_repeated_when_it_is_safe(
    kind: type[NetworkError], state: RetryState
) -> None:
    error = kind("lost")
    if after_loss(error, state) is RetryAction.REPEAT:
        assert error.retryable or state.is_safe or (state.has_key and state.speaks_protocol)


@given(standings)
def test_a_call_that_was_never_sent_is_always_repeated(state: RetryState) -> None:
    assert after_loss(NetworkError("never sent", retryable=True), state) is RetryAction.REPEAT
    assert after_loss(ConnectTimeoutError("never sent"), state) is RetryAction.REPEAT


@given(standings)
def test_a_call_whose_time_is_over_is_never_repeated(state: RetryState) -> None:
    assert after_loss(TotalTimeoutError("too long"), state) is RetryAction.GIVE_UP


@pytest.mark.parametrize("kind", [FirstByteTimeoutError, IdleTimeoutError])
def test_a_time_limit_of_the_caller_is_an_answer_to_a_question_and_not_to_a_look(kind: type[NetworkError]) -> None:
    keyed = RetryState(has_key=True, speaks_protocol=True)
    assert after_loss(kind("silent"), keyed) is RetryAction.GIVE_UP
    assert after_loss(kind("silent"), RetryState(is_safe=True)) is RetryAction.REPEAT


@given(statuses, headers, standings)
def test_only_a_refusal_or_a_lost_gateway_is_repeated(status: int, found: dict[str, str], state: RetryState) -> None:
    if after_refusal(status, found, state) is RetryAction.REPEAT:
        assert status in {429, 503, 502, 504}
        assert status in {429, 503} or (state.may_repeat and not found)


def test_a_numbered_503_may_be_the_end_of_a_run_so_it_needs_a_key() -> None:
    keyed = RetryState(has_key=True, speaks_protocol=True)
    assert after_refusal(503, PROTOCOL, RetryState(speaks_protocol=True)) is RetryAction.GIVE_UP
    assert after_refusal(503, PROTOCOL, keyed) is RetryAction.REPEAT
    assert after_refusal(503, {}, RetryState()) is RetryAction.REPEAT


def test_a_503_that_is_replayed_will_not_change() -> None:
    keyed = RetryState(has_key=True, speaks_protocol=True)
    assert after_refusal(503, {**PROTOCOL, "idempotency-replayed": "true"}, keyed) is RetryAction.GIVE_UP


@given(errors, st.none() | st.just("i-1"), st.booleans(), st.booleans())
def test_a_stream_is_only_read_on_where_the_invocation_can_be_found(
    kind: type[NetworkError], invocation_id: str | None, numbered: bool, survives: bool
) -> None:
    step = after_cut(kind("cut"), invocation_id=invocation_id, numbered=numbered, survives=survives)
    findable = invocation_id is not None and numbered and survives
    assert step is (
        RetryAction.RESUME if findable and kind in {NetworkError, IdleTimeoutError} else RetryAction.GIVE_UP
    )


def test_an_end_without_a_closing_event_is_a_cut() -> None:
    error = StreamInterruptedError("cut")
    assert after_cut(error, invocation_id="i-1", numbered=True, survives=True) is RetryAction.RESUME


@given(statuses, headers)
def test_only_a_numbered_stream_is_read_on(status: int, found: dict[str, str]) -> None:
    resumed = after_return(status, found) is RetryAction.RESUME
    assert resumed is (200 <= status < 300 and found == STREAM)


@pytest.mark.parametrize(
    ("error", "found", "own"),
    [
        (HandlerError("it broke"), PROTOCOL, True),
        (AgentError("no", status_code=404, error_type="OrderNotFound"), PROTOCOL, True),
        (HandlerError("it broke"), {}, False),
        (NotFoundError("unknown"), PROTOCOL, False),
        (EventsEvictedError("gone"), PROTOCOL, False),
    ],
)
def test_the_end_of_an_invocation_is_told_from_the_loss_of_it(
    error: HandlerError, found: dict[str, str], own: bool
) -> None:
    assert is_own_end(error, found) is own
