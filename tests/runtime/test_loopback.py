"""Web pages of others and an agent that is debugged on loopback without a key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.calls import call, refusal
from tests.support.middleware import serving

pytestmark = pytest.mark.contract

FOREIGN_ORIGINS = ["https://evil.example", "null", "http://localhost.evil.example", "http://127.0.0.1.evil.example", ""]
FOREIGN_HOSTS = [
    "evil.example",
    "evil.example:8080",
    "127.0.0.1.evil.example",
    "192.0.2.1",
    "[",
    "",
    "127.0.0.1:8080.evil.example",
]
OWN = ["localhost", "LOCALHOST:8080", "127.0.0.1:8080", "127.9.9.9", "[::1]:8080", "agent.localhost:3000"]
KEY = "key-of-16-letters"


@pytest.fixture(scope="module")
def debug_agent() -> Iterator[str]:
    with serving(debug=True) as url:
        yield url


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
@pytest.mark.parametrize("path", ["/", "/ping", "/metrics", "/docs", "/nowhere"])
def test_foreign_host_is_refused_on_every_route(debug_agent: str, path: str, host: str) -> None:
    refusal(call(debug_agent, path, method="GET", headers={"Host": host}), 403, "AuthenticationError")


@pytest.mark.parametrize("origin", FOREIGN_ORIGINS)
def test_page_of_a_foreign_origin_cannot_call_the_agent(debug_agent: str, origin: str) -> None:
    answer = call(debug_agent, body=b"{}", headers={"Origin": origin})

    sentence = refusal(answer, 403, "AuthenticationError")
    assert "cors_origins" in sentence
    assert "access-control-allow-origin" not in answer.headers


def test_preflight_of_a_foreign_origin_is_refused(debug_agent: str) -> None:
    asked = {"Origin": "https://evil.example", "Access-Control-Request-Method": "POST"}

    assert call(debug_agent, method="OPTIONS", headers=asked).status == 403


def test_websocket_of_a_foreign_origin_is_refused(debug_agent: str) -> None:
    upgrade = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Origin": "https://evil.example",
    }

    assert call(debug_agent, "/ws", method="GET", headers=upgrade).status == 403


@pytest.mark.parametrize("own", OWN)
def test_this_machine_may_call_the_agent(debug_agent: str, own: str) -> None:
    answer = call(debug_agent, body=b"{}", headers={"Host": own, "Origin": f"http://{own}"})

    assert answer.result == {}


def test_origins_that_were_set_are_allowed_and_a_foreign_host_still_is_not() -> None:
    with serving(debug=True, cors_origins=["https://a.example"]) as url:
        assert call(url, body=b"{}", headers={"Origin": "https://a.example"}).status == 200
        assert call(url, body=b"{}", headers={"Host": "evil.example"}).status == 403


def test_any_origin_may_be_set_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_CORS_ORIGINS", "*")
    with serving(debug=True) as url:
        assert call(url, body=b"{}", headers={"Origin": "https://a.example"}).status == 200


@pytest.mark.parametrize("settings", [{}, {"debug": True, "api_keys": [KEY]}], ids=["no debug", "key"])
def test_without_debug_or_with_a_key_nothing_is_refused(settings: dict[str, object]) -> None:
    headers = {"Host": "a.example", "Origin": "https://b.example", "X-API-KEY": KEY}
    with serving(**settings) as url:
        assert call(url, body=b"{}", headers=headers).status == 200


def test_isolated_agent_refuses_them_too() -> None:
    with serving(debug=True, isolate_handlers=True) as url:
        assert call(url, "/ping", method="GET", headers={"Host": "evil.example"}).status == 403
