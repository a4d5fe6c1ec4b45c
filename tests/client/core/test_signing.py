"""Signed requests, against RFC 9421's own vector and against an implementation that we did not write."""

from __future__ import annotations

import base64
import datetime as dt
import hmac
import pickle
import string
from dataclasses import dataclass, field

import httpx
import pytest
from http_message_signatures import (
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    InvalidSignature,
    VerifyResult,
    algorithms,
)
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client import ConfigurationError
from ppio_agent_client._core.signing import HmacSigner, content_digest, covered, signature_base

SECRETS = {"ak-1": "secret-1", "ak-2": "sécret-2", 'a"k\\3': "s"}
CREATED = int(dt.datetime.now(dt.UTC).timestamp())
PATHS = st.from_regex(r"/([a-zA-Z0-9\-._~!$&'()*+,;=:@/ é]|%[0-9A-F]{2}|%){0,20}", fullmatch=True)
QUERIES = st.from_regex(r"([a-zA-Z0-9\-._~!$&'()*+,;=:@/? é]|%[0-9A-F]{2}|%){1,20}", fullmatch=True)


@dataclass
class Request:
    """A request as the independent implementation wants it."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass
class Keys(HTTPSignatureKeyResolver):
    """The secrets of both sides."""

    asked: list[str] = field(default_factory=list)

    def resolve_public_key(self, key_id: str) -> bytes:
        self.asked.append(key_id)
        return SECRETS[key_id].encode()

    def resolve_private_key(self, key_id: str) -> bytes:
        raise NotImplementedError


def signed(
    method: str = "POST",
    url: str = "http://agent.example/invocations",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    *,
    key_id: str = "ak-1",
    nonce: str = "n-1",
) -> Request:
    signer = HmacSigner(key_id, SECRETS[key_id])
    own = headers or {}
    return Request(method, url, own | signer.sign(method, url, own, body, created=CREATED, nonce=nonce), body)


def verified(request: Request) -> VerifyResult:
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())
    (result,) = verifier.verify(request, body=request.body)
    return result


def test_the_base_of_rfc_9421_b_2_5() -> None:
    secret = base64.b64decode(
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
    )
    components = {
        "date": "Tue, 20 Apr 2021 02:07:55 GMT",
        "@authority": "example.com",
        "content-type": "application/json",
    }
    parameters = '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    base = signature_base(components, parameters)
    assert base64.b64encode(hmac.digest(secret, base, "sha256")) == (b"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8=")


def test_the_digest_of_rfc_9530_appendix_d() -> None:
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"


def test_a_signature_is_written_as_the_contract_says() -> None:
    request = signed(url="http://a.example/x?y=1", headers={"X-PPIO-Session-Id": "s%201"}, body=b"{}")
    assert request.headers["Signature-Input"] == (
        'sig1=("@method" "@path" "@query" "content-digest" "x-ppio-session-id")'
        f';created={CREATED};nonce="n-1";keyid="ak-1"'
    )


def test_headers_that_decide_for_whom_and_how_long_it_runs_are_covered() -> None:
    request = signed(headers={"X-PPIO-User-Id": "u", "X-PPIO-Timeout": "3", "Idempotency-Key": "k", "Accept": "*/*"})
    assert request.headers["Signature-Input"].startswith(
        'sig1=("@method" "@path" "x-ppio-user-id" "x-ppio-timeout" "idempotency-key");'
    )


def test_only_what_is_there_is_covered() -> None:
    request = signed("GET", "http://a.example")
    assert request.headers["Signature-Input"].startswith('sig1=("@method" "@path");')
    assert "Content-Digest" not in request.headers


def test_a_digest_that_the_request_has_already_is_the_one_that_is_covered() -> None:
    request = signed(headers={"content-digest": content_digest(b"{}")}, body=b"{}")
    assert "Content-Digest" not in request.headers
    verified(request)


@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PATCH"]),
    path=st.from_regex(r"/([a-zA-Z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2}){0,20}", fullmatch=True),
    query=st.from_regex(r"([a-zA-Z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-F]{2}){1,20}", fullmatch=True) | st.none(),
    session=st.from_regex(r"([a-zA-Z0-9\-._~]|%[0-9A-F]{2}){1,20}", fullmatch=True) | st.none(),
    body=st.binary(max_size=50),
    key_id=st.sampled_from(list(SECRETS)),
    nonce=st.text(string.printable[:95], min_size=1, max_size=40),
)
@pytest.mark.slow
def test_what_we_sign_is_accepted_by_the_independent_implementation(
    method: str, path: str, query: str | None, session: str | None, body: bytes, key_id: str, nonce: str
) -> None:
    url = f"http://agent.example{path}" + ("" if query is None else f"?{query}")
    headers = {} if session is None else {"X-PPIO-Session-Id": session}
    result = verified(signed(method, url, headers, body, key_id=key_id, nonce=nonce))
    assert (result.nonce, result.parameters["keyid"]) == (nonce, key_id)
    wanted = {'"@method"', '"@path"'}
    wanted |= {'"@query"'} if query else set()
    wanted |= {'"content-digest"'} if body else set()
    wanted |= {'"x-ppio-session-id"'} if session else set()
    assert set(result.covered_components) - {'"@signature-params"'} == wanted


CHANGES = {
    "method": {"method": "PUT"},
    "path": {"url": "http://agent.example/other?x=1"},
    "query": {"url": "http://agent.example/invocations?x=2"},
    "body": {"body": b'{"a": 2}'},
}


@pytest.mark.parametrize("change", list(CHANGES.values()), ids=list(CHANGES))
def test_whatever_is_changed_after_signing_makes_it_wrong(change: dict[str, object]) -> None:
    request = signed(url="http://agent.example/invocations?x=1", body=b'{"a": 1}')
    with pytest.raises(InvalidSignature):
        verified(Request(**vars(request) | change))


@given(path=PATHS, query=QUERIES | st.none())
def test_what_is_signed_is_what_httpx_sends(path: str, query: str | None) -> None:
    if any(part in {".", ".."} for part in path.split("/")):
        return  # httpx resolves them; no address of ours has any
    url = f"http://agent.example{path}" + ("" if query is None else f"?{query}")
    components = covered("GET", url, {})
    signed_target = components["@path"] + components.get("@query", "")
    assert signed_target == httpx.URL(url).raw_path.decode()


def test_a_signer_shows_its_secret_to_nobody() -> None:
    signer = HmacSigner("ak-1", "secret-1")
    assert "secret-1" not in repr(signer)
    with pytest.raises(TypeError, match="pickled"):
        pickle.dumps(signer)


@pytest.mark.parametrize(("key_id", "secret"), [("", "s"), ("a\nb", "s"), ("é", "s"), ("a", "")])
def test_what_cannot_sign_is_refused(key_id: str, secret: str) -> None:
    with pytest.raises(ConfigurationError, match="api_"):
        HmacSigner(key_id, secret)
