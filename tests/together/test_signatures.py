"""Whatever the client signs, the runtime's verifier accepts, and nothing that was changed on the way."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppio_agent_client._core.signing import HmacSigner, target_of
from ppio_agent_client._headers import encoded_session_id
from ppio_agent_runtime.errors import RefusedError
from ppio_agent_runtime.security.signatures import SignedMessage, check_digest, verify

NOW = 1_700_000_000
PATHS = st.from_regex(r"(/[a-zA-Z0-9\-._~!$&'()*+,;=:@% é]{0,9}){0,3}", fullmatch=True)
QUERIES = st.from_regex(r"[a-zA-Z0-9\-._~!$&'()*+,;=:@/?% é]{0,20}", fullmatch=True)
VISIBLE = st.text(string.printable[:95], min_size=1, max_size=30)


def received(method: str, url: str, headers: dict[str, str]) -> SignedMessage:
    """Return what a server sees of a request."""
    path, _, query = target_of(url).partition("?")
    fields = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return SignedMessage(method, path.encode(), query.encode(), fields)


@given(
    method=st.sampled_from(["GET", "POST", "DELETE", "HEAD"]),
    path=PATHS,
    query=QUERIES | st.none(),
    session=st.text(min_size=1, max_size=20) | st.none(),
    body=st.binary(max_size=50),
    key_id=VISIBLE,
    secret=st.text(st.characters(codec="utf-8"), min_size=1),
    nonce=VISIBLE,
)
def test_any_request_that_the_client_signs_opens_the_door(
    method: str,
    path: str,
    query: str | None,
    session: str | None,
    body: bytes,
    key_id: str,
    secret: str,
    nonce: str,
) -> None:
    url = f"http://agent.example{path}" + ("" if query is None else f"?{query}")
    headers = {} if session is None else {"X-PPIO-Session-Id": encoded_session_id(session)}
    headers |= HmacSigner(key_id, secret).sign(method, url, headers, body, created=NOW, nonce=nonce)
    message = received(method, url, headers)

    signature = verify(message, {key_id: secret.encode()}, now=NOW + 1, max_age_seconds=300)

    assert (signature.key_id, signature.nonce, signature.covers_digest) == (key_id, nonce, bool(body))
    check_digest(message, body, signature)
    with pytest.raises(RefusedError):
        check_digest(message, body + b"x", signature)
    with pytest.raises(RefusedError):
        verify(message, {key_id: secret.encode() + b"x"}, now=NOW + 1, max_age_seconds=300)


@pytest.mark.parametrize("age", [301, -61])
def test_a_signature_of_another_time_does_not(age: int) -> None:
    url = "http://agent.example/invocations"
    headers = HmacSigner("ak-1", "s").sign("GET", url, {}, b"", created=NOW, nonce="n")

    with pytest.raises(RefusedError) as refused:
        verify(received("GET", url, headers), {"ak-1": b"s"}, now=NOW + age, max_age_seconds=300)
    assert refused.value.reason == "expired"
