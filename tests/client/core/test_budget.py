"""How many retries a client can afford."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._core.retry import ANSWERS_PER_RETRY, RetryBudget


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
