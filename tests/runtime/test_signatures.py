"""Signed requests, against RFC 9421's own vector and against an independent implementation."""

import base64
import datetime as dt
import string
import subprocess
import sys
from typing import Any

import pytest
from http_message_signatures import (
    HTTPMessageVerifier,
    InvalidSignature,
    algorithms,
)
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_models import UnavailableError
from ppio_agent_runtime.errors import RefusedError
from ppio_agent_runtime.security.signatures import (
    NonceMemory,
    Signature,
    SignedMessage,
    sign,
    signature_base,
    verify,
)
from tests.runtime.signing import NOW, SECRETS, Keys, Request, digest_of, signed_by_them, signed_by_us, verified


def test_the_vector_of_rfc_9421_b_2_5() -> None:
    secret = base64.b64decode(
        "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
    )
    message = SignedMessage(
        "POST",
        b"/foo",
        b"param=Value&Pet=dog",
        [
            (b"host", b"example.com"),
            (b"date", b"Tue, 20 Apr 2021 02:07:55 GMT"),
            (b"content-type", b"application/json"),
            (b"content-length", b"18"),
        ],
    )
    covered: Any = (
        [("date", {}), ("@authority", {}), ("content-type", {})],
        {"created": 1618884473, "keyid": "test-shared-secret"},
    )

    base = signature_base(message, covered)

    assert base == (
        b'"date": Tue, 20 Apr 2021 02:07:55 GMT\n'
        b'"@authority": example.com\n'
        b'"content-type": application/json\n'
        b'"@signature-params": ("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    )
    assert base64.b64encode(sign(base, secret)) == b"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


@pytest.mark.parametrize(
    "request_",
    [
        Request(body=b'{"prompt": "hello"}'),
        Request(method="GET", url="http://agent.example/metrics"),
        Request(url="http://agent.example/a%20b/%C3%A9?x=1&y=%20&z", body=b"{}"),
        Request(method="DELETE", headers={"X-PPIO-Session-Id": "s%20one"}),
    ],
)
@pytest.mark.parametrize("key_id", list(SECRETS))
def test_what_the_independent_implementation_signs_is_accepted(request_: Request, key_id: str) -> None:
    request = Request(request_.method, request_.url, dict(request_.headers), request_.body)

    assert verified(signed_by_them(request, key_id=key_id)) == key_id


@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "PATCH"]),
    path=st.from_regex(r"/([a-zA-Z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-F]{2}){0,20}", fullmatch=True),
    query=st.from_regex(r"([a-zA-Z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-F]{2}){1,20}", fullmatch=True) | st.none(),
    body=st.binary(max_size=50),
    nonce=st.text(string.printable[:95], min_size=1, max_size=40),
)
def test_any_request_that_they_sign_is_accepted(
    method: str, path: str, query: str | None, body: bytes, nonce: str
) -> None:
    url = f"http://agent.example{path}" + ("" if query is None else f"?{query}")

    assert verified(signed_by_them(Request(method, url, {}, body), nonce=nonce)) == "ak-1"


def test_what_we_sign_is_accepted_by_the_independent_implementation() -> None:
    created = int(dt.datetime.now(dt.UTC).timestamp())
    request = Request(url="http://agent.example/invocations?x=1", headers={"X-PPIO-Session-Id": "s1"}, body=b"{}")
    request.headers["Content-Digest"] = digest_of(request.body)
    names = ["@method", "@path", "@query", "content-digest", "x-ppio-session-id"]
    signed_by_us(
        request, *names, key_id="ak-2", secret=SECRETS["ak-2"], created=created, nonce='n"1\\', alg="hmac-sha256"
    )
    verifier = HTTPMessageVerifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=Keys())

    (result,) = verifier.verify(request, body=request.body)

    assert result.nonce == 'n"1\\'
    request.headers["X-PPIO-Session-Id"] = "s2"
    with pytest.raises(InvalidSignature):
        verifier.verify(request, body=request.body)


def good() -> Request:
    headers = {"X-PPIO-Session-Id": "s1"}
    return signed_by_them(Request(url="http://agent.example/invocations?x=1", headers=headers, body=b'{"a": 1}'))


def changed(request: Request, name: str, value: str) -> Request:
    request.headers[name] = value
    return request


TAMPERED = {
    "method": Request(**vars(good()) | {"method": "PUT"}),
    "path": Request(**vars(good()) | {"url": "http://agent.example/other?x=1"}),
    "query": Request(**vars(good()) | {"url": "http://agent.example/invocations?x=2"}),
    "session": changed(good(), "X-PPIO-Session-Id", "s2"),
    "digest": changed(good(), "Content-Digest", digest_of(b"other")),
    "created": changed(good(), "Signature-Input", good().headers["Signature-Input"].replace(str(NOW), str(NOW + 1))),
    "nonce": changed(good(), "Signature-Input", good().headers["Signature-Input"].replace("n-1", "n-2")),
    "key id": changed(good(), "Signature-Input", good().headers["Signature-Input"].replace("ak-1", "ak-2")),
    "signature": changed(good(), "Signature", "sig1=:AAAA:"),
}


@pytest.mark.parametrize("request_", list(TAMPERED.values()), ids=list(TAMPERED))
def test_whatever_is_changed_after_signing_makes_it_wrong(request_: Request) -> None:
    with pytest.raises(RefusedError) as refused:
        verified(request_)

    assert refused.value.reason == "wrong"
    assert (refused.value.status_code, refused.value.error_type) == (401, "AuthenticationError")


def test_another_body_than_the_signed_one_is_refused() -> None:
    request = good()
    request.body = b'{"a": 2}'

    with pytest.raises(RefusedError) as refused:
        verified(request)
    assert refused.value.reason == "digest"


def test_an_unknown_key_id_is_told_in_the_words_of_a_wrong_secret() -> None:
    with pytest.raises(RefusedError) as unknown:
        verified(good(), {"ak-9": b"other"})
    with pytest.raises(RefusedError) as wrong:
        verified(good(), {"ak-1": b"other"})

    assert str(unknown.value) == str(wrong.value)


def test_the_secret_that_replaces_an_unknown_one_opens_nothing() -> None:
    request = signed_by_us(Request(method="GET"), "@method", "@path", key_id="nobody", secret=b"unknown")

    with pytest.raises(RefusedError, match="wrong"):
        verified(request)


@pytest.mark.parametrize(("age", "accepted"), [(-61, False), (-60, True), (0, True), (300, True), (301, False)])
def test_a_signature_is_accepted_for_its_time_and_a_little_before(age: int, accepted: bool) -> None:
    request = signed_by_them(Request(method="GET"), created=NOW - age)

    if accepted:
        assert verified(request) == "ak-1"
    else:
        with pytest.raises(RefusedError) as refused:
            verified(request)
        assert refused.value.reason == "expired"


def test_a_signature_that_says_when_it_expires_is_taken_at_its_word() -> None:
    expires = dt.datetime.fromtimestamp(NOW + 5, dt.UTC)
    request = signed_by_them(Request(method="GET"), expires=expires)

    assert verified(request, now=NOW + 5) == "ak-1"
    with pytest.raises(RefusedError, match="expired"):
        verified(request, now=NOW + 6)


@pytest.mark.parametrize(
    ("request_", "components"),
    [
        (Request(), ("@path",)),
        (Request(), ("@method",)),
        (Request(url="http://agent.example/?x=1"), ("@method", "@path")),
        (Request(headers={"X-PPIO-Session-Id": "s1"}), ("@method", "@path")),
        (Request(headers={"X-PPIO-User-Id": "root"}), ("@method", "@path")),
        (Request(headers={"X-PPIO-Timeout": "1"}), ("@method", "@path")),
        (Request(headers={"Idempotency-Key": "k"}), ("@method", "@path")),
        (Request(headers={"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": "s1"}), ("@method", "@path")),
        (Request(headers={"X-Amzn-Bedrock-AgentCore-Runtime-User-Id": "root"}), ("@method", "@path")),
        (Request(body=b"{}"), ("@method", "@path")),
    ],
    ids=[
        "method",
        "path",
        "query",
        "session",
        "user",
        "timeout",
        "key",
        "AgentCore session",
        "AgentCore user",
        "digest",
    ],
)
def test_a_signature_must_cover_what_the_contract_names(request_: Request, components: tuple[str, ...]) -> None:
    with pytest.raises(RefusedError) as refused:
        verified(signed_by_them(request_, *components))

    assert refused.value.reason == "incomplete"


def test_a_body_without_any_digest_is_refused() -> None:
    request = signed_by_them(Request())
    request.body = b"{}"

    with pytest.raises(RefusedError) as refused:
        verified(request)
    assert refused.value.reason == "incomplete"


def test_more_may_be_covered_than_the_contract_names() -> None:
    request = Request(headers={"Host": "agent.example", "Content-Type": "application/json"}, body=b"{}")

    components = ("@method", "@path", "@authority", "content-type", "content-digest")
    assert verified(signed_by_them(request, *components)) == "ak-1"


def test_other_signatures_and_digests_may_stand_beside_ours() -> None:
    request = good()
    request.headers["Signature-Input"] = f"other=(), {request.headers['Signature-Input']}"
    request.headers["Signature"] = f"other=:AAAA:, {request.headers['Signature']}"

    assert verified(request) == "ak-1"


@pytest.mark.parametrize(
    ("signature_input", "reason"),
    [
        ("", "malformed"),
        ("sig1", "malformed"),
        ('sig1="@method"', "malformed"),
        ('sig2=("@method" "@path");created=1;nonce="n";keyid="ak-1"', "malformed"),
        ('sig1=("@method" "@path";created=1', "malformed"),
        ('sig1=("@method" "@path");nonce="n";keyid="ak-1"', "incomplete"),
        ('sig1=("@method" "@path");created=1;keyid="ak-1"', "incomplete"),
        ('sig1=("@method" "@path");created=1;nonce="n"', "incomplete"),
        ('sig1=("@method" "@path");created=1.5;nonce="n";keyid="ak-1"', "incomplete"),
        ('sig1=("@method" "@path");created=?1;nonce="n";keyid="ak-1"', "incomplete"),
        ('sig1=("@method" "@path");created=1;nonce=n;keyid="ak-1"', "incomplete"),
        ('sig1=("@method" "@path");created=1;nonce="";keyid="ak-1"', "malformed"),
        (f'sig1=("@method" "@path");created=1;nonce="{"n" * 257}";keyid="ak-1"', "malformed"),
        ('sig1=("@method" "@path");created=1;nonce="n";keyid="ak-1";alg="rsa-v1_5-sha256"', "malformed"),
        ('sig1=("@method" "@path");created=1;nonce="n";keyid="ak-1";expires="soon"', "malformed"),
        ('sig1=("@method" "@path" "@method");created=1;nonce="n";keyid="ak-1"', "malformed"),
        ('sig1=("@method";req "@path");created=1;nonce="n";keyid="ak-1"', "malformed"),
        ('sig1=("@method" "@path" "x-missing");created=1;nonce="n";keyid="ak-1"', "malformed"),
        ('sig1=("@method" "@path" "@status");created=1;nonce="n";keyid="ak-1"', "malformed"),
        ('sig1=("@method" "@path" 5);created=1;nonce="n";keyid="ak-1"', "malformed"),
    ],
)
def test_a_malformed_signature_is_refused_with_its_reason(signature_input: str, reason: str) -> None:
    request = Request(method="GET", headers={"Signature-Input": signature_input, "Signature": "sig1=:AAAA:"})

    with pytest.raises(RefusedError) as refused:
        verified(request)
    assert refused.value.reason == reason


@pytest.mark.parametrize("signature", ["", "sig1=AAAA", "sig1=(:AAAA:)", "sig1=:A:", "sig2=:AAAA:"])
def test_a_signature_that_is_no_byte_sequence_is_refused(signature: str) -> None:
    with pytest.raises(RefusedError) as refused:
        verified(changed(good(), "Signature", signature))

    assert refused.value.reason == "malformed"


@pytest.mark.parametrize("digest", ["sha-512=:AAAA:", "sha-256=AAAA", "sha-256", "=", "sha-256=:A:"])
def test_a_digest_without_sha_256_is_refused(digest: str) -> None:
    request = Request(headers={"Content-Digest": digest})

    with pytest.raises(RefusedError) as refused:
        verified(signed_by_us(request, "@method", "@path", "content-digest", secret=SECRETS["ak-1"]))
    assert refused.value.reason == "malformed"


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_pair_of_headers_is_refused_or_accepted_never_a_crash(signature_input: str, signature: str) -> None:
    headers = [(b"signature-input", signature_input.encode()), (b"signature", signature.encode())]

    with pytest.raises(RefusedError):
        verify(SignedMessage("GET", b"/", b"", headers), SECRETS, now=NOW, max_age_seconds=300)


def test_without_hmac_keys_nothing_that_reads_signatures_is_imported() -> None:
    program = """
import sys
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp
for keys in ({"api_keys": ["k"]}, {"hmac_keys": {"id": "secret"}}):
    PPIOAgentRuntimeApp(AgentConfig(**keys)).stack
    print("http_sf" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]


def a_signature(nonce: str, key_id: str = "ak-1") -> Signature:
    return Signature(key_id, nonce, covers_digest=False)


def test_a_nonce_is_remembered_as_long_as_its_signature_could_live() -> None:
    memory = NonceMemory(300)
    memory.add(a_signature("a"), now=1000)

    with pytest.raises(RefusedError):
        memory.add(a_signature("a"), now=1359)
    memory.add(a_signature("a"), now=1360)


def test_two_callers_may_use_the_same_nonce() -> None:
    memory = NonceMemory(300)
    memory.add(a_signature("a", "ak-1"), now=0)
    memory.add(a_signature("a", "ak-2"), now=0)


def test_a_full_memory_refuses_rather_than_forgets() -> None:
    memory = NonceMemory(300, max_nonces=2)
    memory.add(a_signature("a"), now=0)
    memory.add(a_signature("b"), now=1)

    with pytest.raises(UnavailableError) as full:
        memory.add(a_signature("c"), now=2)
    assert full.value.retry_after == 1
    memory.add(a_signature("c"), now=360)
