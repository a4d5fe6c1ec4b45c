"""Four limits become the timeouts of single reads."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client import ClientConfig, InvocationRequest
from ppio_agent_client._core.limits import ANSWER_GRACE_SECONDS, call_limits, total_seconds
from ppio_agent_client._core.request_body import Request, requested_timeout

CONFIG = ClientConfig(connect_timeout=10, first_byte_timeout=20, idle_timeout=30)


def test_without_a_total_each_limit_stands_alone() -> None:
    limits = call_limits(CONFIG, None, 1000.0)
    assert (limits.connect_timeout(9e9), limits.head_timeout(9e9), limits.body_timeout(9e9)) == (10, 20, 30)
    assert limits.remaining(9e9) is None


@given(st.floats(0.1, 100), st.floats(0, 200))
def test_no_read_outlasts_the_total(total: float, elapsed: float) -> None:
    limits = call_limits(CONFIG, total, 1000.0)
    left = max(total - elapsed, 0.001) + 1e-6
    for timeout in (limits.connect_timeout, limits.head_timeout, limits.body_timeout):
        wait = timeout(1000.0 + elapsed)
        assert wait is not None
        assert 0 < wait <= left


@pytest.mark.parametrize(
    ("request_", "seconds"),
    [
        (InvocationRequest(timeout=2.5), 2.5),
        ({"timeout": 3}, 3.0),
        ({"timeout": "3"}, None),
        ({"timeout": True}, None),
        ({"timeout": 0}, None),
        ({"timeout": -1}, None),
        ({"timeout": float("nan")}, None),
        ({"timeout": float("inf")}, None),
        ({}, None),
        ("a prompt", None),
        (InvocationRequest(), None),
    ],
)
def test_only_a_timeout_of_the_contracts_type_counts(request_: Request, seconds: float | None) -> None:
    assert requested_timeout(request_) == seconds


def test_the_client_waits_a_moment_longer_than_the_handler_may_take() -> None:
    assert total_seconds(5.0, 300.0) == 5.0 + ANSWER_GRACE_SECONDS


def test_without_a_request_of_its_own_the_default_holds() -> None:
    assert total_seconds(None, 300.0) == 300.0
    assert total_seconds(None, None) is None
