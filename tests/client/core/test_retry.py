"""When a call is repeated, and after which pause."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._core.retry import MAX_ASKED_PAUSE_SECONDS, MAX_PAUSE_SECONDS, RetryPolicy

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
