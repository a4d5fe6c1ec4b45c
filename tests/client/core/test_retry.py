"""What follows a loss, a refusal, a cut, and after which pause: nothing may run twice, and what can be had is had."""

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
    TotalTimeoutError,
)
from ppio_agent_client._core.retry import (
    ANSWERS_PER_RETRY,
    MAX_ASKED_PAUSE_SECONDS,
    MAX_PAUSE_SECONDS,
    RetryAction,
    RetryBudget,
    RetryPolicy,
    after_return,
    is_own_end,
    may_repeat_answered,
    may_repeat_lost,
    may_resume,
)

PROTOCOL = {"ppio-agent-protocol": "1"}
STREAM = {**PROTOCOL, "content-type": "text/event-stream"}
yes_or_no = st.booleans()
errors = st.sampled_from(
    [NetworkError, IdleTimeoutError, FirstByteTimeoutError, ConnectTimeoutError, TotalTimeoutError]
)
statuses = st.integers(100, 599)
headers = st.sampled_from([{}, PROTOCOL, STREAM, {**PROTOCOL, "idempotency-replayed": "true"}])


def lost(error: NetworkError, *, is_safe: bool = False, may_repeat: bool = False, is_prompt: bool = False) -> bool:
    return may_repeat_lost(error, is_safe=is_safe, may_repeat=is_safe or may_repeat, is_prompt=is_prompt)


@given(errors, yes_or_no, yes_or_no, yes_or_no)
def test_a_call_that_may_have_arrived_is_only_repeated_when_it_is_safe(
    kind: type[NetworkError], is_safe: bool, may_repeat: bool, is_prompt: bool
) -> None:
    error = kind("lost")
    if lost(error, is_safe=is_safe, may_repeat=may_repeat, is_prompt=is_prompt):
        assert error.retryable or is_safe or may_repeat


@given(yes_or_no, yes_or_no)
def test_a_call_that_was_never_sent_is_always_repeated(is_safe: bool, may_repeat: bool) -> None:
    for error in (NetworkError("never sent", retryable=True), ConnectTimeoutError("never sent")):
        assert lost(error, is_safe=is_safe, may_repeat=may_repeat)


@given(yes_or_no, yes_or_no)
def test_a_call_whose_time_is_over_is_never_repeated(is_safe: bool, may_repeat: bool) -> None:
    assert not lost(TotalTimeoutError("too long"), is_safe=is_safe, may_repeat=may_repeat)


@pytest.mark.parametrize("kind", [FirstByteTimeoutError, IdleTimeoutError])
def test_a_time_limit_of_the_caller_is_an_answer_to_a_question_and_not_to_a_look(kind: type[NetworkError]) -> None:
    assert not lost(kind("silent"), may_repeat=True)
    assert lost(kind("silent"), is_safe=True)


def test_silence_where_a_heartbeat_was_promised_is_a_dead_connection() -> None:
    assert lost(FirstByteTimeoutError("silent"), may_repeat=True, is_prompt=True)
    assert not lost(FirstByteTimeoutError("silent"), is_prompt=True)


@given(statuses, headers, yes_or_no, yes_or_no)
def test_only_a_refusal_or_a_lost_gateway_is_repeated(
    status: int, found: dict[str, str], was_refused: bool, may_repeat: bool
) -> None:
    if may_repeat_answered(status, found, was_refused=was_refused, may_repeat=may_repeat):
        assert status in {429, 503, 502, 504}
        assert (was_refused and status in {429, 503}) or (may_repeat and not found)


def test_an_agents_503_that_is_no_refusal_is_the_end_of_a_run() -> None:
    assert not may_repeat_answered(503, PROTOCOL, was_refused=False, may_repeat=True)
    assert may_repeat_answered(503, PROTOCOL, was_refused=True, may_repeat=False)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_somebody_else_answers_does_not_say_that_nothing_ran(status: int) -> None:
    assert not may_repeat_answered(status, {}, was_refused=False, may_repeat=False)
    assert may_repeat_answered(status, {}, was_refused=False, may_repeat=True)


@given(errors, st.none() | st.just("i-1"), yes_or_no, yes_or_no)
def test_a_stream_is_only_read_on_where_the_invocation_can_be_found(
    kind: type[NetworkError], invocation_id: str | None, numbered: bool, survives: bool
) -> None:
    resumed = may_resume(kind("cut"), invocation_id=invocation_id, numbered=numbered, survives=survives)
    findable = invocation_id is not None and numbered and survives
    assert resumed is (findable and kind in {NetworkError, IdleTimeoutError})


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


chances = st.floats(0, 1, exclude_max=True)


@given(st.integers(0, 60), chances)
def test_a_pause_is_never_longer_than_its_bound(attempt: int, chance: float) -> None:
    pause = RetryPolicy(100, 0.5).pause(attempt, chance=chance)
    assert pause is not None
    assert 0 <= pause <= min(MAX_PAUSE_SECONDS, 0.5 * 2**attempt)


def test_the_bound_doubles_with_each_attempt() -> None:
    policy = RetryPolicy(5, 1.0)
    assert [policy.pause(attempt, chance=0.5) for attempt in range(4)] == [0.5, 1.0, 2.0, 4.0]


@given(st.integers(0, 10), chances)
def test_there_are_never_more_than_max_retries(max_retries: int, chance: float) -> None:
    assert RetryPolicy(max_retries, 1.0).pause(max_retries, chance=chance) is None


@given(st.floats(0, MAX_ASKED_PAUSE_SECONDS), chances)
def test_what_the_server_asks_for_is_obeyed(asked: float, chance: float) -> None:
    assert RetryPolicy(1, 1.0).pause(0, chance=chance, retry_after=asked) == asked


def test_a_server_that_asks_for_too_much_is_not_waited_for() -> None:
    assert RetryPolicy(1, 1.0).pause(0, chance=0, retry_after=MAX_ASKED_PAUSE_SECONDS + 1) is None


@given(chances, st.floats(-10, 40), st.none() | st.floats(0, 50))
def test_a_pause_never_outlasts_the_call(chance: float, remaining: float, asked: float | None) -> None:
    pause = RetryPolicy(9, 20.0).pause(1, chance=chance, retry_after=asked, remaining=remaining)
    assert pause is None or pause < remaining


def test_a_full_bucket_pays_for_so_many_and_no_more() -> None:
    budget = RetryBudget(3)
    assert [budget.spend() for _ in range(5)] == [True, True, True, False, False]


def test_ten_answers_pay_for_one_more() -> None:
    budget = RetryBudget(1)
    assert budget.spend()
    for _ in range(ANSWERS_PER_RETRY + 1):  # one more, for tenths do not add up to one exactly
        budget.earn()
    assert budget.spend()
    assert not budget.spend()


def test_without_a_bound_there_is_always_one() -> None:
    budget = RetryBudget(None)
    assert all(budget.spend() for _ in range(10_000))


def test_a_client_that_may_make_none_makes_none() -> None:
    assert not RetryBudget(0).spend()


@given(st.lists(st.booleans(), max_size=300), st.integers(0, 20))
def test_retries_never_outnumber_the_bucket_and_a_tenth_of_the_answers(steps: list[bool], most: int) -> None:
    budget = RetryBudget(most)
    spent = answers = 0
    for answered in steps:
        if answered:
            budget.earn()
            answers += 1
        else:
            spent += budget.spend()
    assert spent <= most + answers / ANSWERS_PER_RETRY
