"""What a client shows to whom, when it fetches something else to show, and what it never shows."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Mapping
from typing import Any

import pytest

from ppio_agent_client import (
    AccessToken,
    AgentRuntimeClient,
    AuthenticationError,
    AuthManager,
    ClientConfig,
    ConfigurationError,
)
from ppio_agent_client._io import _async as io
from tests.support.raw_server import OK, answer, answering, raw_server

NOW = 1_700_000_000.0
URL = "https://api.example/v2/sandboxes?state=running"
UNAUTHORIZED = answer(b'{"error":"who are you","error_type":"AuthenticationError"}', "401 Unauthorized")


class Clock:
    """A wall clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(io, "unix_now", clock)
    return clock


class Issuer:
    """Somebody who issues tokens that live for an hour.

    Attributes:
        calls: How often it was asked.
        failure: What it raises in place of a token.
    """

    def __init__(self, clock: Clock) -> None:
        self.calls = 0
        self.failure: Exception | None = None
        self._clock = clock

    async def __call__(self) -> AccessToken:
        self.calls += 1
        if self.failure is not None:
            raise self.failure
        return AccessToken(f"token-{self.calls}", self._clock.now + 3600)


@pytest.mark.contract
async def test_a_key_is_shown_as_the_platform_wants_it() -> None:
    auth = AuthManager("key-1")
    assert await auth.authorize("GET", URL, {}) == {"X-API-KEY": "key-1"}
    assert await auth.authorize("GET", URL, {}, bearer=True) == {"Authorization": "Bearer key-1"}
    assert await auth.get_auth_headers() == {"Authorization": "Bearer key-1"}


@pytest.mark.contract
async def test_with_a_secret_each_attempt_is_signed_anew_and_neither_is_shown() -> None:
    auth = AuthManager("ak-1", "secret-1")
    first, second = await auth.authorize("POST", URL, {}, b"{}"), await auth.authorize("POST", URL, {}, b"{}")
    assert set(first) == {"Content-Digest", "Signature-Input", "Signature"}
    assert first["Signature"] != second["Signature"]
    assert 'keyid="ak-1"' in first["Signature-Input"]
    assert "secret-1" not in str(first)


@pytest.mark.contract
async def test_the_headers_of_one_request_can_be_asked_for(clock: Clock) -> None:
    auth = AuthManager("ak-1", "secret-1")
    headers = await auth.get_auth_headers(method="POST", url="http://a/invocations", body=b"{}")
    assert headers.keys() == {"Content-Digest", "Signature-Input", "Signature"}
    assert '("@method" "@path" "content-digest")' in headers["Signature-Input"]
    as_text = await auth.get_auth_headers(method="post", url="http://a/invocations", body="{}")
    assert as_text["Content-Digest"] == headers["Content-Digest"]


@pytest.mark.parametrize("given", [{"method": "POST"}, {"url": "http://a/"}, {"body": b"{}"}])
async def test_half_a_request_is_not_signed(given: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError, match="pass method= and url="):
        await AuthManager("ak-1", "secret-1").get_auth_headers(**given)


async def test_without_a_request_a_signature_covers_its_parameters_alone(clock: Clock) -> None:
    headers = await AuthManager("ak-1", "secret-1").get_auth_headers()
    assert headers["Signature-Input"].startswith("sig1=();created=")
    assert "secret-1" not in str(headers)


async def test_the_newline_at_the_end_of_a_file_of_secrets_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    auth = AuthManager("ak-1\n", "secret-1\n")
    assert auth.api_key == "ak-1"
    assert "the api_key has white space" in caplog.text
    assert "the api_secret has white space" in caplog.text
    assert "secret-1" not in caplog.text


async def test_a_signer_of_somebody_else_takes_the_place_of_key_and_secret(clock: Clock) -> None:
    class Stamp:
        def sign(
            self, method: str, url: str, headers: Mapping[str, str], body: bytes, *, created: int, nonce: str
        ) -> dict[str, str]:
            return {"X-Stamp": f"{method} {url} {dict(headers)} {body!r} {created} {len(nonce)}"}

    auth = AuthManager(signer=Stamp())
    assert auth.has_credential
    shown = await auth.authorize("PUT", "http://a/b", {"A": "1"}, b"x")
    assert shown == {"X-Stamp": f"PUT http://a/b {{'A': '1'}} b'x' {NOW:.0f} 22"}


@pytest.mark.contract
@pytest.mark.parametrize("key", [None, ""])
async def test_nothing_to_show_is_an_error_that_says_what_to_do(key: str | None) -> None:
    auth = AuthManager(key)
    assert not auth.has_credential
    with pytest.raises(AuthenticationError, match=r"PPIO_API_KEY.*LocalSandboxProvider"):
        await auth.authorize("GET", URL, {})
    with pytest.raises(AuthenticationError, match="PPIO_API_KEY"):
        auth.session_token("s-1")


@pytest.mark.contract
async def test_what_is_neither_key_nor_callable_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="bytes"):
        AuthManager(b"key")  # type: ignore[arg-type]


# --- Keys that end ---


async def test_a_fetched_key_is_kept_until_a_minute_before_its_end(clock: Clock) -> None:
    issuer = Issuer(clock)
    auth = AuthManager(issuer)
    for moment, expected in ((0, "token-1"), (3539, "token-1"), (3540, "token-2"), (3600, "token-2")):
        clock.now = NOW + moment
        assert await auth.authorize("GET", URL, {}) == {"X-API-KEY": expected}
    assert issuer.calls == 2


async def test_a_plain_function_fetches_too(clock: Clock) -> None:
    auth = AuthManager(lambda: ("token", clock.now + 3600))
    assert await auth.get_auth_headers() == {"Authorization": "Bearer token"}


async def test_a_key_that_cannot_be_renewed_is_used_to_its_end(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer(clock)
    auth = AuthManager(issuer)
    await auth.get_auth_headers()
    issuer.failure = OSError("the issuer says secret-thing")
    clock.now = NOW + 3545
    with caplog.at_level(logging.WARNING, "ppio_agent_client"):
        assert await auth.get_auth_headers() == {"Authorization": "Bearer token-1"}
    assert "OSError" in caplog.text
    assert "secret-thing" not in caplog.text
    assert await auth.get_auth_headers() == {"Authorization": "Bearer token-1"}
    assert issuer.calls == 2  # it is left in peace for a moment
    clock.now = NOW + 3600
    with pytest.raises(AuthenticationError, match="OSError") as caught:
        await auth.get_auth_headers()
    assert isinstance(caught.value.__cause__, OSError)
    assert "secret-thing" not in str(caught.value)


async def test_it_is_renewed_when_the_issuer_is_back(clock: Clock) -> None:
    issuer = Issuer(clock)
    auth = AuthManager(issuer)
    await auth.get_auth_headers()
    issuer.failure, clock.now = OSError(), NOW + 3545
    await auth.get_auth_headers()
    issuer.failure, clock.now = None, NOW + 3551
    assert await auth.get_auth_headers() == {"Authorization": "Bearer token-3"}


async def test_what_the_issuer_itself_says_in_our_words_is_passed_on(clock: Clock) -> None:
    issuer = Issuer(clock)
    issuer.failure = ConfigurationError("the issuer's address is missing")
    with pytest.raises(ConfigurationError, match="address is missing"):
        await AuthManager(issuer).get_auth_headers()


async def test_a_refused_key_is_fetched_anew(clock: Clock) -> None:
    auth = AuthManager(Issuer(clock))
    refused = await auth.authorize("GET", URL, {})
    assert await auth.renew(refused) is True
    assert await auth.authorize("GET", URL, {}) == {"X-API-KEY": "token-2"}


async def test_a_key_that_somebody_else_has_renewed_already_will_do(clock: Clock) -> None:
    issuer = Issuer(clock)
    auth = AuthManager(issuer)
    refused = await auth.authorize("GET", URL, {})
    assert [await auth.renew(refused), await auth.renew(refused), await auth.renew(refused)] == [True] * 3
    assert issuer.calls == 2


@pytest.mark.contract
async def test_the_same_key_again_is_no_reason_for_another_attempt() -> None:
    auth = AuthManager(lambda: "always-the-same")
    assert await auth.renew(await auth.authorize("GET", URL, {})) is False


@pytest.mark.contract
async def test_a_fixed_key_cannot_be_renewed() -> None:
    auth = AuthManager("key-1")
    assert await auth.renew() is False
    await auth.refresh_token()
    assert await auth.get_auth_headers() == {"Authorization": "Bearer key-1"}


async def test_a_key_can_be_renewed_by_hand(clock: Clock) -> None:
    auth = AuthManager(Issuer(clock))
    await auth.get_auth_headers()
    await auth.refresh_token()
    assert await auth.get_auth_headers() == {"Authorization": "Bearer token-2"}


# --- Tokens of sessions ---


@pytest.mark.contract
async def test_the_token_of_a_session_depends_on_the_best_secret_there_is() -> None:
    by_key = AuthManager("key").session_token("s-1")
    by_secret = AuthManager("key", "secret").session_token("s-1")
    by_own = AuthManager("key", "secret", session_secret="own").session_token("s-1")
    assert len({by_key, by_secret, by_own}) == 3
    # With a secret the key is only a name, and names are no secrets.
    assert by_secret == AuthManager("other", "secret").session_token("s-1")
    assert by_own == AuthManager(lambda: "k", session_secret="own").session_token("s-1")


@pytest.mark.contract
async def test_a_key_that_ends_gives_no_token_to_a_session() -> None:
    with pytest.raises(ConfigurationError, match=r"session_secret.*PPIO_AGENT_SESSION_SECRET"):
        AuthManager(lambda: "k").session_token("s-1")


# --- What nobody sees ---


@pytest.mark.contract
async def test_an_auth_manager_shows_its_secrets_to_nobody() -> None:
    auth = AuthManager("secret-1", "secret-2", session_secret="secret-3")
    assert "secret-" not in repr(auth)
    with pytest.raises(TypeError, match="not pickled"):
        pickle.dumps(auth)


@pytest.mark.contract
async def test_a_client_has_the_credentials_of_its_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PPIO_API_KEY", "PPIO_API_SECRET", "PPIO_AGENT_SESSION_SECRET"):
        monkeypatch.delenv(name, raising=False)
    async with AgentRuntimeClient("key", config=ClientConfig(session_secret="own")) as client:
        assert await client.auth_manager.get_auth_headers() == {"Authorization": "Bearer key"}
        assert client.auth_manager.session_token("s") == AuthManager(session_secret="own").session_token("s")
    monkeypatch.setenv("PPIO_API_KEY", "from-environment")
    monkeypatch.setenv("PPIO_API_SECRET", "secret")
    async with AgentRuntimeClient() as client:
        assert client.auth_manager.signs
        assert client.with_options(timeout=1).auth_manager is client.auth_manager


# --- Calls to attached agents ---


async def test_a_call_shows_what_was_fetched_and_once_more_after_a_401(clock: Clock) -> None:
    issuer = Issuer(clock)
    with raw_server(answering(OK, UNAUTHORIZED, OK)) as server:
        async with AgentRuntimeClient() as client:
            session = client.attach(server.url, auth=AuthManager(issuer))
            await session.invoke("x")
            assert (await session.invoke("x")).result == 42
    shown = [request.headers["authorization"] for request in server.requests]
    assert shown == ["Bearer token-1", "Bearer token-1", "Bearer token-2"]
    keys = [request.headers["idempotency-key"] for request in server.requests]
    assert keys[1] == keys[2] != keys[0]


async def test_a_second_401_is_what_the_caller_hears(clock: Clock) -> None:
    issuer = Issuer(clock)
    with raw_server(answering(UNAUTHORIZED)) as server:
        async with AgentRuntimeClient() as client:
            with pytest.raises(AuthenticationError, match="who are you"):
                await client.attach(server.url, auth=AuthManager(issuer)).invoke("x")
    assert (len(server.requests), issuer.calls) == (2, 2)


@pytest.mark.contract
async def test_a_fixed_key_that_is_refused_is_not_shown_again() -> None:
    with raw_server(answering(UNAUTHORIZED)) as server:
        async with AgentRuntimeClient() as client:
            with pytest.raises(AuthenticationError):
                await client.attach(server.url, auth=AuthManager("key")).invoke("x")
    assert len(server.requests) == 1


@pytest.mark.contract
async def test_a_token_and_credentials_are_one_too_many() -> None:
    async with AgentRuntimeClient() as client:
        with pytest.raises(ConfigurationError, match="not both"):
            client.attach("http://a", "token", auth=AuthManager("key"))


async def test_pings_and_streams_show_it_too(clock: Clock) -> None:
    events = b"data: 1\n\n: end\n\n"
    streamed = answer(events, headers={"Content-Type": "text/event-stream"})
    with raw_server(answering(answer(b'{"status":"Healthy"}'), streamed)) as server:
        async with AgentRuntimeClient() as client:
            session = client.attach(server.url, auth=AuthManager(Issuer(clock)))
            await session.ping()
            chunks: list[Any] = [chunk async for chunk in session.stream("x")]
    assert chunks == [1]
    assert {request.headers["authorization"] for request in server.requests} == {"Bearer token-1"}
