"""When a call is repeated, after which pause, and how often in all. The clock and the die are the test's."""

from __future__ import annotations

from email.utils import formatdate

import pytest

from ppio_agent_client import AgentRuntimeClient, ClientConfig, NetworkError, RateLimitedError, UnavailableError
from ppio_agent_client._io import _async as io
from tests.client._async.clients import attached
from tests.support.raw_server import OK, answering, closed_port, raw_server, refusal

NOW = 1_700_000_000.0
FULL = refusal()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return the pauses that were asked for; none of them is made."""
    asked: list[float] = []

    async def sleep(seconds: float) -> None:
        asked.append(seconds)

    monkeypatch.setattr(io, "sleep", sleep)
    monkeypatch.setattr(io, "chance", lambda: 0.5)
    monkeypatch.setattr(io, "unix_now", lambda: NOW)
    return asked


def refusing(retry_after: str) -> bytes:
    return refusal("RateLimitedError", "429 Too Many Requests", retry_after)


async def test_pauses_double_and_the_die_decides_how_much_of_them(pauses: list[float]) -> None:
    async with attached(answering(FULL, FULL, FULL, OK)) as (_, session):
        assert (await session.invoke("x")).result == 42
    assert pauses == [0.5, 1.0, 2.0]


@pytest.mark.parametrize(
    ("retry_after", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        (formatdate(NOW + 9, usegmt=True), 9.0),
        (formatdate(NOW - 9, usegmt=True), 0.0),
        ("Tuesday, 14-Nov-23 22:13:29 GMT", 9.0),  # the form of RFC 850, which a recipient must understand
        ("Tue Nov 14 22:13:29 2023", 9.0),  # and that of asctime
        ("soon", 0.5),
    ],
)
async def test_the_pause_that_a_server_asks_for_is_made(retry_after: str, seconds: float, pauses: list[float]) -> None:
    async with attached(answering(refusing(retry_after), OK)) as (_, session):
        assert (await session.invoke("x")).result == 42
    assert pauses == [seconds]


@pytest.mark.parametrize("retry_after", ["61", formatdate(NOW + 61, usegmt=True)])
async def test_a_longer_pause_is_left_to_the_caller(retry_after: str, pauses: list[float]) -> None:
    async with attached(answering(refusing(retry_after), OK)) as (_, session):
        with pytest.raises(RateLimitedError) as caught:
            await session.invoke("x")
    assert (caught.value.retry_after, pauses) == (61, [])


async def test_an_outage_is_not_multiplied(pauses: list[float]) -> None:
    calls, most = 20, 5
    async with attached(answering(FULL), retry_budget=most) as (server, session):
        for _ in range(calls):
            with pytest.raises(UnavailableError):
                await session.with_options(max_retries=3).invoke("x")
    assert len(server.requests) == calls + most


async def test_without_a_budget_it_is(pauses: list[float]) -> None:
    calls = 40  # with more retries than any budget that is there by default
    async with attached(answering(FULL), retry_budget=None) as (server, session):
        for _ in range(calls):
            with pytest.raises(UnavailableError):
                await session.invoke("x")
    assert len(server.requests) == calls * 4


async def test_calls_that_nobody_answers_spend_it_too(pauses: list[float]) -> None:
    with closed_port() as url:
        async with AgentRuntimeClient(config=ClientConfig(retry_budget=5)) as client:
            for _ in range(10):
                with pytest.raises(NetworkError):
                    await client.attach(url).invoke("x")
    assert len(pauses) == 5


async def test_answers_give_it_back(pauses: list[float]) -> None:
    async with attached(answering(FULL, FULL, *[OK] * 11, FULL, OK), retry_budget=1) as (server, session):
        with pytest.raises(UnavailableError):
            await session.invoke("x")
        for _ in range(12):
            assert (await session.invoke("x")).result == 42
    assert len(server.requests) == 15


async def test_sessions_and_views_of_a_client_share_one_budget(pauses: list[float]) -> None:
    with raw_server(answering(FULL)) as server:
        async with AgentRuntimeClient(config=ClientConfig(retry_budget=4)) as client:
            for view in (client, client.with_options(timeout=9), client.with_options(max_retries=2)):
                with pytest.raises(UnavailableError):
                    await view.attach(server.url).invoke("x")
    assert len(server.requests) == 3 + 4
