"""A key that many need at once is fetched once: by tasks, by threads, by event loops of several threads."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ppio_agent_client import (
    AccessToken,
    AgentRuntimeClient,
    AuthenticationError,
    AuthManager,
    ConfigurationError,
    SyncAuthManager,
    SyncTemplateManager,
)
from ppio_agent_client._io import _async as io
from tests.support.tasks import cancelled

MANY = 50
SHOWN = {"Authorization": "Bearer token-1"}


class SlowIssuer:
    """Issues tokens once a test lets it."""

    def __init__(self) -> None:
        self.calls = 0
        self.asked = asyncio.Event()
        self.open = asyncio.Event()

    async def __call__(self) -> str:
        self.calls += 1
        number = self.calls
        self.asked.set()
        await self.open.wait()
        return f"token-{number}"


@pytest.mark.contract
async def test_tasks_that_wait_for_one_key_get_the_same() -> None:
    issuer = SlowIssuer()
    auth = AuthManager(issuer)
    tasks = [asyncio.create_task(auth.get_auth_headers()) for _ in range(MANY)]
    await issuer.asked.wait()
    issuer.open.set()
    assert await asyncio.gather(*tasks) == [SHOWN] * MANY
    assert issuer.calls == 1


async def test_while_one_task_renews_a_key_the_others_go_on_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    issuer = SlowIssuer()
    issuer.open.set()
    now = 1_700_000_000.0
    end = now + 3600
    monkeypatch.setattr(io, "unix_now", lambda: now)

    async def fetch() -> AccessToken:
        return AccessToken(await issuer(), end)

    auth = AuthManager(fetch)
    assert await auth.get_auth_headers() == SHOWN
    issuer.open.clear()
    issuer.asked.clear()
    now, end = end - 10, end + 3600
    renewing = asyncio.create_task(auth.get_auth_headers())
    await issuer.asked.wait()
    assert await asyncio.gather(*(auth.get_auth_headers() for _ in range(MANY))) == [SHOWN] * MANY
    issuer.open.set()
    assert await renewing == await auth.get_auth_headers() == {"Authorization": "Bearer token-2"}


@pytest.mark.contract
async def test_when_the_task_that_fetches_is_cancelled_another_takes_over() -> None:
    issuer = SlowIssuer()
    auth = AuthManager(issuer)
    first, *others = [asyncio.create_task(auth.get_auth_headers()) for _ in range(MANY)]
    await issuer.asked.wait()
    await cancelled(first)
    issuer.open.set()
    assert await asyncio.gather(*others) == [{"Authorization": "Bearer token-2"}] * (MANY - 1)
    assert issuer.calls == 2


@pytest.mark.contract
async def test_a_task_that_only_waits_can_leave() -> None:
    issuer = SlowIssuer()
    auth = AuthManager(issuer)
    first, second = (asyncio.create_task(auth.get_auth_headers()) for _ in range(2))
    await issuer.asked.wait()
    await cancelled(second)
    issuer.open.set()
    assert await first == SHOWN


@pytest.mark.contract
async def test_a_failure_is_told_to_everybody_who_waited_and_not_to_the_next() -> None:
    issuer = SlowIssuer()
    failing = True

    async def fetch() -> str:
        token = await issuer()
        if failing:
            raise OSError
        return token

    auth = AuthManager(fetch)
    tasks = [asyncio.create_task(auth.get_auth_headers()) for _ in range(MANY)]
    await issuer.asked.wait()
    issuer.open.set()
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {AuthenticationError}
    assert issuer.calls == 1
    failing = False
    assert await auth.get_auth_headers() == {"Authorization": "Bearer token-2"}


@pytest.mark.contract
async def test_many_refusals_of_one_key_are_one_renewal() -> None:
    issuer = SlowIssuer()
    issuer.open.set()
    auth = AuthManager(issuer)
    refused = await auth.get_auth_headers()
    assert await asyncio.gather(*(auth.renew(refused) for _ in range(MANY))) == [True] * MANY
    assert issuer.calls == 2


@pytest.mark.contract
async def test_a_plain_function_does_not_hold_up_the_event_loop() -> None:
    may_return = threading.Event()

    def fetch() -> str:
        assert may_return.wait(60)
        return "token-1"

    auth = AuthManager(fetch)
    task = asyncio.create_task(auth.get_auth_headers())
    await asyncio.sleep(0)  # the loop turns
    may_return.set()
    assert await task == SHOWN


@pytest.mark.contract
def test_threads_that_wait_for_one_key_get_the_same() -> None:
    calls: list[int] = []
    everybody_is_here = threading.Barrier(MANY)

    def fetch() -> str:
        calls.append(1)
        return f"token-{len(calls)}"

    auth = SyncAuthManager(fetch)

    def ask() -> dict[str, str]:
        everybody_is_here.wait()
        return auth.get_auth_headers()

    with ThreadPoolExecutor(MANY) as threads:
        answers = [future.result() for future in [threads.submit(ask) for _ in range(MANY)]]
    assert answers == [SHOWN] * MANY
    assert len(calls) == 1


@pytest.mark.contract
def test_event_loops_of_several_threads_share_one_key() -> None:
    loops = 8
    calls: list[int] = []
    everybody_is_here = threading.Barrier(loops)

    async def fetch() -> str:
        calls.append(1)
        await asyncio.sleep(0)
        return f"token-{len(calls)}"

    auth = AuthManager(fetch)

    async def ask() -> list[dict[str, str]]:
        everybody_is_here.wait()
        return await asyncio.gather(*(auth.get_auth_headers() for _ in range(5)))

    with ThreadPoolExecutor(loops) as threads:
        futures = [threads.submit(asyncio.run, ask()) for _ in range(loops)]
        answers = [headers for future in futures for headers in future.result()]
    assert answers == [SHOWN] * (loops * 5)
    assert len(calls) == 1


@pytest.mark.contract
def test_a_coroutine_function_is_refused_by_the_blocking_client() -> None:
    async def fetch() -> str:
        return "token"

    with pytest.raises(ConfigurationError, match="async client"):
        SyncAuthManager(fetch).get_auth_headers()


@pytest.mark.contract
def test_credentials_of_the_other_kind_of_client_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="class AuthManager here, not SyncAuthManager"):
        AgentRuntimeClient().attach("http://a", auth=SyncAuthManager("key"))  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="class SyncAuthManager here, not AuthManager"):
        SyncTemplateManager(AuthManager("key"))  # type: ignore[arg-type]
