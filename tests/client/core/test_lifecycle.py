"""What the state of a sandbox means, and what callers are told about its end."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest

from ppio_agent_client import NetworkError, PingResponse, PingStatus, Sandbox, SessionStatus
from ppio_agent_client._core import lifecycle

BORN = datetime(2026, 1, 1, tzinfo=UTC)
SANDBOX = Sandbox(
    sandbox_id="b-1",
    session_id="s-1",
    template_id="t-1",
    url="http://127.0.0.1:1",
    state="running",
    created_at=BORN,
    expires_at=BORN + timedelta(seconds=600),
    start_timeout_seconds=20.0,
)
HEALTHY = PingResponse(status=PingStatus.HEALTHY)
UNHEALTHY = PingResponse(status=PingStatus.UNHEALTHY, message="no database")


def ended(exit_code: int | None, output: str = "") -> Sandbox:
    return replace(SANDBOX, state="ended", exit_code=exit_code, output=output)


@pytest.mark.parametrize(
    ("sandbox", "answer", "status"),
    [
        (None, None, SessionStatus.CLOSED),
        (ended(None), None, SessionStatus.CLOSED),
        (ended(0), None, SessionStatus.CLOSED),
        (ended(-9), None, SessionStatus.CLOSED),
        (ended(-15), None, SessionStatus.CLOSED),
        (ended(1), None, SessionStatus.ERROR),
        (ended(-11), None, SessionStatus.ERROR),
        (replace(SANDBOX, state="paused"), None, SessionStatus.PAUSED),
        (SANDBOX, None, SessionStatus.INACTIVE),
        (SANDBOX, HEALTHY, SessionStatus.ACTIVE),
        (SANDBOX, PingResponse(status=PingStatus.HEALTHY_BUSY), SessionStatus.ACTIVE),
        (SANDBOX, UNHEALTHY, SessionStatus.ERROR),
    ],
)
def test_a_session_is_what_its_sandbox_and_its_agent_say(
    sandbox: Sandbox | None, answer: PingResponse | None, status: SessionStatus
) -> None:
    assert lifecycle.status_of(sandbox, answer) is status


def test_a_crash_is_told_with_its_last_lines() -> None:
    error = lifecycle.gone_error("s-1", ended(3, "one\ntwo"))
    assert "exit code 3" in str(error)
    assert str(error).endswith("one\ntwo")
    assert error.output == "one\ntwo"


def test_a_close_is_not_told_as_a_crash() -> None:
    error = lifecycle.gone_error("s-1", ended(-9, "one\ntwo"))
    assert "closed or expired" in str(error)
    assert "two" not in str(error)


def test_the_meant_life_is_from_birth_to_end() -> None:
    assert lifecycle.life_of(SANDBOX) == 600.0
    assert lifecycle.life_of(replace(SANDBOX, expires_at=None)) == 300.0


def test_pauses_grow_from_50_ms_and_stay_within_a_second() -> None:
    pauses = list(islice(lifecycle.pauses(), 40))
    assert pauses[0] == 0.05
    assert pauses == sorted(pauses)
    assert pauses[-1] == 1.0


@pytest.mark.parametrize(
    ("answer", "ready"),
    [
        (HEALTHY, True),
        (PingResponse(status=PingStatus.HEALTHY_BUSY), True),
        (UNHEALTHY, False),
        (NetworkError("x"), False),
    ],
)
def test_an_agent_that_answers_well_is_ready(answer: PingResponse | Exception, ready: bool) -> None:
    assert lifecycle.is_ready(answer) is ready


def test_an_early_end_is_told_with_exit_code_and_the_tail_of_the_output() -> None:
    error = lifecycle.ended_early(ended(1, "\n".join(map(str, range(100)))), "t-1")
    assert "'t-1'" in str(error)
    assert "exit code 1" in str(error)
    assert str(error).endswith("95\n96\n97\n98\n99")
    assert error.output.startswith("0\n1\n")


def test_an_early_end_that_nobody_saw_is_told_too() -> None:
    assert "exit code unknown" in str(lifecycle.ended_early(None, "t-1"))


def test_a_slow_start_is_told_with_its_limit_and_the_last_ping() -> None:
    assert "within 20 s; its last ping returned Unhealthy: no database" in str(
        lifecycle.never_ready(SANDBOX, UNHEALTHY, None)
    )
    assert "its last ping failed: refused" in str(lifecycle.never_ready(SANDBOX, NetworkError("refused"), SANDBOX))
