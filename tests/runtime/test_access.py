"""Who is let in: API keys and signed requests, over real sockets."""

import base64
import hashlib
import hmac
import http.client
import itertools
import json
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from starlette.requests import Request

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running
from tests.runtime.wire import Answer, address, connect, read_until, request

pytestmark = pytest.mark.contract

KEY, OTHER_KEY, SECRET = "sk-first-key", "sk-second-kéy", "hmac-secret"  # the second is not ASCII
nonces = itertools.count()


def app_with(**settings: Any) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(AgentConfig(**settings))

    @app.entrypoint
    async def agent(request: dict[str, Any], context: RequestContext) -> list[Any]:
        return [request.get("prompt"), context.key_id]

    return app


@pytest.fixture(scope="module", params=[False, True], ids=["", "isolated"])
def both(request: pytest.FixtureRequest) -> Iterator[str]:
    """A service that takes two API keys and two HMAC keys."""
    app = app_with(
        api_keys=[KEY, OTHER_KEY],
        hmac_keys={"ak-1": SECRET, "ak-2": "older"},
        debug=True,
        max_request_size=1000,
        isolate_handlers=request.param,
    )
    with running(app) as url:
        yield url


def invoke(url: str, body: bytes = b'{"prompt": "hello"}', **headers: str) -> Answer:
    return request(url, "POST", "/invocations", body, {name.replace("_", "-"): text for name, text in headers.items()})


def signed(
    body: bytes = b'{"prompt": "hello"}',
    *,
    method: str = "POST",
    path: str = "/invocations",
    key_id: str = "ak-1",
    secret: str = SECRET,
    created: int | None = None,
    nonce: str | None = None,
) -> dict[str, str]:
    """Return the headers of a signed request, made from the words of RFC 9421 and nothing of the runtime."""
    path, mark, query = path.partition("?")
    components = {"@method": method, "@path": path}
    headers = {}
    if mark:
        components["@query"] = f"?{query}"
    if body:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers["Content-Digest"] = components["content-digest"] = f"sha-256=:{digest}:"
    created = int(time.time()) if created is None else created
    nonce = f"n{next(nonces)}" if nonce is None else nonce
    names = " ".join(f'"{name}"' for name in components)
    parameters = f'({names});created={created};nonce="{nonce}";keyid="{key_id}"'
    base = "\n".join(
        [*(f'"{name}": {value}' for name, value in components.items()), f'"@signature-params": {parameters}']
    )
    signature = base64.b64encode(hmac.digest(secret.encode(), base.encode(), "sha256")).decode()
    return headers | {"Signature-Input": f"sig1={parameters}", "Signature": f"sig1=:{signature}:"}


def short_hash(key: str) -> str:
    return f"key-{hashlib.sha256(key.encode()).hexdigest()[:12]}"


# --- API keys ---


@pytest.mark.parametrize("header", ["Authorization", "X-API-KEY"])
@pytest.mark.parametrize("key", [KEY, OTHER_KEY])
def test_each_key_opens_the_door_in_either_header(both: str, header: str, key: str) -> None:
    value = (f"Bearer {key}" if header == "Authorization" else key).encode().decode("latin-1")

    answer = request(both, "POST", "/invocations", b'{"prompt": "hello"}', {header: value})

    assert (answer.status, answer.json["result"]) == (200, ["hello", short_hash(key)])


def test_the_word_bearer_is_read_without_regard_to_case(both: str) -> None:
    assert invoke(both, Authorization=f"bEARER  {KEY}").status == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer nope"},
        {"Authorization": f"Basic {KEY}"},
        {"Authorization": KEY},
        {"X-API-KEY": ""},
        {"X-API-KEY": KEY[:-1]},
        {"X-API-KEY": KEY + "x"},
        {"X-API-KEY": f"{KEY},{OTHER_KEY}".encode().decode("latin-1")},
        {"Cookie": f"X-API-KEY={KEY}"},
    ],
)
def test_anything_else_is_401_with_a_challenge(both: str, headers: dict[str, str]) -> None:
    answer = request(both, "POST", "/invocations", b"{}", headers)

    assert answer.status == 401
    assert answer.json["error_type"] == "AuthenticationError"
    assert answer.json["metadata"]["request_id"] == answer.headers["x-ppio-request-id"]
    assert "Bearer realm=" in answer.headers["www-authenticate"] or "Signature" in answer.headers["www-authenticate"]
    assert KEY[3:] not in answer.body.decode()


def test_the_challenge_says_whether_a_key_was_missing_or_wrong() -> None:
    with running(app_with(api_keys=[KEY])) as url:
        missing, wrong = invoke(url), invoke(url, X_API_KEY="nope")

    assert missing.headers["www-authenticate"] == 'Bearer realm="agent"'
    assert wrong.headers["www-authenticate"] == 'Bearer realm="agent", error="wrong"'


def test_without_configured_keys_nobody_is_asked() -> None:
    with running(app_with()) as url:
        assert invoke(url).json["result"] == ["hello", None]


@pytest.mark.parametrize(
    "path", ["/", "/docs", "/openapi.json", "/metrics", "/nowhere", "/ping/", "//ping", "/invocations"]
)
def test_every_route_but_ping_is_closed(both: str, path: str) -> None:
    assert request(both, "GET", path).status == 401


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/"])
def test_with_a_key_they_are_open(both: str, path: str) -> None:
    assert request(both, "GET", path, headers={"X-API-KEY": KEY}).status == 200


def test_ping_needs_no_key(both: str) -> None:
    assert request(both, "GET", "/ping").status == 200


def test_metrics_can_be_made_public() -> None:
    with running(app_with(api_keys=[KEY], metrics_public=True)) as url:
        assert request(url, "GET", "/metrics").status == 200
        assert request(url, "GET", "/").status == 401


def test_a_preflight_needs_no_key_and_the_refusal_can_be_read_by_a_browser(both: str) -> None:
    origin = {"Origin": "https://app.example"}
    preflight = request(
        both,
        "OPTIONS",
        "/invocations",
        headers=origin | {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"},
    )
    refused = request(both, "POST", "/invocations", b"{}", origin)

    assert preflight.status == 204
    assert preflight.headers["access-control-allow-headers"] == "authorization"
    assert (refused.status, refused.headers["access-control-allow-origin"]) == (401, "*")


def test_users_middleware_is_behind_the_door() -> None:
    app = app_with(api_keys=[KEY])
    seen: list[str] = []

    @app.middleware
    async def note(request: Request, call_next: Any) -> Any:
        seen.append(request.url.path)
        return await call_next(request)

    with running(app) as url:
        invoke(url)
        assert seen == []
        invoke(url, X_API_KEY=KEY)
    assert seen == ["/invocations"]


def test_the_door_stands_with_isolated_handlers_too() -> None:
    with running(app_with(api_keys=[KEY], isolate_handlers=True)) as url:
        assert invoke(url).status == 401
        assert invoke(url, X_API_KEY=KEY).status == 200
        assert request(url, "GET", "/ping").status == 200


def test_a_refusal_is_counted() -> None:
    app = app_with(api_keys=[KEY])
    with running(app) as url:
        invoke(url)
        text = request(url, "GET", "/metrics", headers={"X-API-KEY": KEY}).body.decode()

    assert 'reason="authentication"} 1.0' in text


# --- Configuration ---


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("API_KEYS", ""),
        ("API_KEYS", " , "),
        ("API_KEYS", "[]"),
        ("API_KEYS", '["a", " "]'),
        ("HMAC_KEYS", ""),
        ("HMAC_KEYS", "{}"),
        ("HMAC_KEYS", '{"a": ""}'),
        ("HMAC_KEYS", '{"": "a"}'),
        ("HMAC_KEYS", '{"ak": "topsecret"'),
        ("HMAC_KEYS", '{"ak": ["topsecret"]}'),
    ],
)
def test_keys_that_are_set_but_empty_or_wrong_fail_at_start(
    variable: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"PPIO_AGENT_{variable}", value)

    with pytest.raises(ConfigurationError, match=f"PPIO_AGENT_{variable}") as failed:
        PPIOAgentRuntimeApp()
    assert "topsecret" not in str(failed.value)


def test_keys_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_API_KEYS", f"{KEY}, another")
    monkeypatch.setenv("PPIO_AGENT_HMAC_KEYS", json.dumps({"ak-1": SECRET}))

    config = AgentConfig()

    assert (config.api_keys, config.hmac_keys) == ([KEY, "another"], {"ak-1": SECRET})


def test_no_secret_is_in_the_repr_of_the_settings() -> None:
    text = repr(AgentConfig(api_keys=[KEY], hmac_keys={"ak-1": SECRET}))

    assert KEY not in text
    assert SECRET not in text


def test_no_secret_is_in_the_log_of_a_refusal(both: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        invoke(both, X_API_KEY="guessed-key")

    assert "Access refused" in caplog.text
    assert "guessed-key" not in caplog.text
    assert KEY not in caplog.text


# --- Signatures ---


@pytest.mark.parametrize(("key_id", "secret"), [("ak-1", SECRET), ("ak-2", "older")])
def test_a_request_signed_with_any_of_the_keys_is_let_in(both: str, key_id: str, secret: str) -> None:
    answer = request(both, "POST", "/invocations", b'{"prompt": "hello"}', signed(key_id=key_id, secret=secret))

    assert (answer.status, answer.json["result"]) == (200, ["hello", key_id])


@pytest.mark.parametrize("path", ["/openapi.json", "/openapi.json?x=1&y=%20", "/%6Fpenapi.json"])
def test_a_signed_request_without_a_body_is_let_in(both: str, path: str) -> None:
    assert request(both, "GET", path, headers=signed(b"", method="GET", path=path)).status == 200


def refusal(answer: Answer) -> tuple[int, str]:
    challenge = answer.headers["www-authenticate"]
    return answer.status, challenge.rpartition('error="')[2].strip('"')


def test_a_replayed_request_is_refused(both: str) -> None:
    headers = signed(b"{}")

    first = request(both, "POST", "/invocations", b"{}", headers)
    second = request(both, "POST", "/invocations", b"{}", headers)

    assert first.status == 200
    assert refusal(second) == (401, "replayed")


@pytest.mark.parametrize(
    ("sign", "body", "reason"),
    [
        (lambda: signed(b"{}", secret="wrong"), b"{}", "wrong"),
        (lambda: signed(b"{}", key_id="nobody"), b"{}", "wrong"),
        (lambda: signed(b"{}", created=0), b"{}", "expired"),
        (lambda: signed(b"{}"), b'{"a": 1}', "digest"),
        (lambda: signed(b""), b"{}", "incomplete"),
        (lambda: signed(b"{}") | {"Signature": "sig1"}, b"{}", "malformed"),
    ],
)
def test_a_wrong_signature_is_refused_with_the_class_of_its_reason(
    both: str, sign: Callable[[], dict[str, str]], body: bytes, reason: str
) -> None:
    answer = request(both, "POST", "/invocations", body, sign())  # signed now: signatures age

    assert refusal(answer) == (401, reason)
    assert answer.json["error_type"] == "AuthenticationError"


def test_a_refused_body_does_not_use_up_the_nonce(both: str) -> None:
    headers = signed(b"{}")

    assert request(both, "POST", "/invocations", b"[]", headers).status == 401
    assert request(both, "POST", "/invocations", b"{}", headers).status == 200


def test_a_wrong_signature_beside_a_right_key_is_let_in(both: str) -> None:
    assert (
        request(both, "POST", "/invocations", b"{}", signed(b"{}", secret="wrong") | {"X-API-KEY": KEY}).status == 200
    )


def test_a_right_signature_beside_a_wrong_key_is_let_in(both: str) -> None:
    assert request(both, "POST", "/invocations", b"{}", signed(b"{}") | {"X-API-KEY": "wrong"}).status == 200


def test_a_signed_body_is_bounded_while_it_is_digested(both: str) -> None:
    body = json.dumps({"prompt": "x" * 2000}).encode()

    answer = request(both, "POST", "/invocations", body, signed(body))

    assert (answer.status, answer.json["error_type"]) == (413, "PayloadTooLargeError")


def test_a_signed_body_in_pieces_reaches_the_agent_whole(both: str) -> None:
    body = b'{"prompt": "in pieces"}'
    connection = http.client.HTTPConnection(*address(both))
    connection.request("POST", "/invocations", iter([body[:5], body[5:]]), signed(body), encode_chunked=True)
    answer = connection.getresponse()

    assert json.loads(answer.read())["result"][0] == "in pieces"
    connection.close()


def test_a_signed_body_must_arrive_in_time() -> None:
    with running(app_with(hmac_keys={"ak-1": SECRET}, request_read_timeout_seconds=0.1)) as url, connect(url) as slow:
        headers = "".join(f"{name}: {value}\r\n" for name, value in signed(b"{}").items())
        slow.sendall(f"POST /invocations HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n{headers}\r\n".encode())

        assert b" 408 " in read_until(slow, b"RequestReadTimeoutError")


def test_a_service_with_hmac_keys_only_asks_for_signatures() -> None:
    with running(app_with(hmac_keys={"ak-1": SECRET})) as url:
        answer = invoke(url, X_API_KEY=SECRET)
        accepted = request(url, "POST", "/invocations", b"{}", signed(b"{}"))

    assert answer.status == 401
    assert answer.headers["www-authenticate"].startswith("Signature")
    assert 'created;nonce;keyid;alg="hmac-sha256"' in answer.headers["accept-signature"]
    assert accepted.status == 200


def test_a_service_with_api_keys_only_takes_no_signature() -> None:
    with running(app_with(api_keys=[KEY])) as url:
        assert request(url, "POST", "/invocations", b"{}", signed(b"{}", secret=KEY)).status == 401
