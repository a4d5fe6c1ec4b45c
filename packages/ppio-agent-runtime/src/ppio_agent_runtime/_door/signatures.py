"""Signed requests: HTTP message signatures (RFC 9421) by HMAC-SHA256, and digests of bodies (RFC 9530).

Pure: no clock, no memory, no network. What a request must cover is contract: method and path always, the query and the
body's digest when there is one, the session header when it is sent.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal

from ppio_agent_models import SESSION_ID_HEADER, AuthenticationError

from .structured_fields import InnerList, Item, parse_dictionary, serialize_member

if TYPE_CHECKING:
    from .._asgi import Headers

LABEL: Final = "sig1"
ALGORITHM: Final = "hmac-sha256"
MAX_SKEW_SECONDS: Final = 60
"""How far the clock of a caller may be ahead of ours."""
MAX_NONCE_CHARS: Final = 256

_SESSION: Final = SESSION_ID_HEADER.lower()

Reason = Literal["missing", "wrong", "malformed", "incomplete", "expired", "replayed", "digest"]
"""Why a request is refused, as a class of reasons: it never tells what would have been right."""


class RefusedError(AuthenticationError):
    """A request whose credentials do not open the door.

    Attributes:
        reason: The class of the reason.
    """

    def __init__(self, message: str, reason: Reason) -> None:
        super().__init__(message, error_type=AuthenticationError.__name__)
        self.reason: Reason = reason


class SignedMessage:
    """What of a request can be signed.

    Args:
        method: As sent.
        path: Percent-encoded as sent, without the query.
        query: As sent, without the question mark; empty when there is none.
        headers: Raw pairs, names in lower case.
    """

    __slots__ = ("_fields", "method", "path", "query")

    def __init__(self, method: str, path: bytes, query: bytes, headers: Headers) -> None:
        self.method = method
        self.path = path
        self.query = query
        self._fields: dict[str, bytes] = {}
        for raw, value in headers:
            name, line = raw.decode("latin-1"), value.strip(b" \t")
            self._fields[name] = b"%b, %b" % (self._fields[name], line) if name in self._fields else line

    def field(self, name: str) -> bytes | None:
        """Return the combined value of a header field (RFC 9421, section 2.1), or None when it was not sent."""
        return self._fields.get(name)


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature that is right; whether it is fresh, and fits the body, is still to be seen.

    Attributes:
        key_id: Whose key made it.
        nonce: Never to be seen again from this key.
        covers_digest: It covers the body's digest, which then must be right; otherwise the body must be empty.
    """

    key_id: str
    nonce: str
    covers_digest: bool


def verify(message: SignedMessage, secrets: Mapping[str, bytes], *, now: float, max_age_seconds: float) -> Signature:
    """Return the signature of a request after checking it.

    Args:
        secrets: Key id to secret.
        now: Unix seconds.
        max_age_seconds: How old it may be.

    Raises:
        RefusedError: It is missing, malformed, does not cover enough, too old, from the future, or wrong.
    """
    covered, given = _read(message)
    key_id, nonce, created, expires = _metadata(covered)
    names = _covered_names(covered)
    _check_coverage(message, names)
    base = signature_base(message, covered)
    # An unknown key id costs as much as a wrong secret and is told in the same words.
    expected = sign(base, secrets.get(key_id, b"unknown"))
    if not hmac.compare_digest(given, expected) or key_id not in secrets:
        raise RefusedError("The signature is wrong, or its key id is unknown.", "wrong")
    if now - created > max_age_seconds or created - now > MAX_SKEW_SECONDS or (expires is not None and now > expires):
        raise RefusedError(
            f"The signature has expired or is from the future: it may be {max_age_seconds:g} s old and "
            f"{MAX_SKEW_SECONDS} s ahead of this machine's clock.",
            "expired",
        )
    return Signature(key_id, nonce, "content-digest" in names)


def check_digest(message: SignedMessage, body: bytes, signature: Signature) -> None:
    """Compare the body with its signed digest (RFC 9530, section 2).

    Raises:
        RefusedError: It differs, or there is a body and no digest covered.
    """
    if not signature.covers_digest:
        if body:
            raise RefusedError('There is a body, and the signature does not cover "content-digest".', "incomplete")
        return
    field = message.field("content-digest")
    try:
        digest = parse_dictionary((field or b"").decode("latin-1")).get("sha-256")
    except ValueError as error:
        raise RefusedError(f"The header Content-Digest is malformed: {error}.", "malformed") from None
    if not isinstance(digest, Item) or not isinstance(digest.value, bytes):
        raise RefusedError("The header Content-Digest must have a sha-256.", "malformed")
    if not hmac.compare_digest(digest.value, hashlib.sha256(body).digest()):
        raise RefusedError("The body is not the one that was signed.", "digest")


def sign(base: bytes, secret: bytes) -> bytes:
    """Return the signature of a signature base (RFC 9421, section 3.3.3)."""
    return hmac.digest(secret, base, "sha256")


def signature_base(message: SignedMessage, covered: InnerList) -> bytes:
    """Return what is signed (RFC 9421, section 2.5).

    Raises:
        RefusedError: A covered component is unknown, was not sent, or is named twice.
    """
    lines: list[bytes] = []
    for name in _covered_names(covered):
        value = _component(message, name)
        if value is None:
            raise RefusedError("The signature covers something that was not sent or is not known here.", "malformed")
        lines.append(b'"%b": %b' % (name.encode(), value))
    lines.append(b'"@signature-params": ' + serialize_member(covered).encode())
    return b"\n".join(lines)


def _read(message: SignedMessage) -> tuple[InnerList, bytes]:
    """Return what the signature covers, with its parameters, and the signature itself."""
    inputs, signatures = message.field("signature-input"), message.field("signature")
    if inputs is None or signatures is None:
        raise RefusedError("The request is not signed.", "missing")
    try:
        covered = parse_dictionary(inputs.decode("latin-1")).get(LABEL)
        given = parse_dictionary(signatures.decode("latin-1")).get(LABEL)
    except ValueError as error:
        raise RefusedError(f"The headers Signature-Input and Signature cannot be read: {error}.", "malformed") from None
    if not isinstance(covered, InnerList) or not isinstance(given, Item) or not isinstance(given.value, bytes):
        raise RefusedError(f"There is no signature under the label {LABEL!r}.", "malformed")
    return covered, given.value


def _metadata(covered: InnerList) -> tuple[str, str, int, int | None]:
    """Return key id, nonce, and when the signature was created and expires, in unix seconds."""
    parameters = covered.parameters
    if parameters.get("alg", ALGORITHM) != ALGORITHM:
        raise RefusedError(f"The signature's algorithm must be {ALGORITHM}.", "malformed")
    key_id, nonce = parameters.get("keyid"), parameters.get("nonce")
    created, expires = parameters.get("created"), parameters.get("expires")
    if type(key_id) is not str or type(nonce) is not str or type(created) is not int:
        raise RefusedError("The signature needs the parameters created, nonce and keyid.", "incomplete")
    if not 0 < len(nonce) <= MAX_NONCE_CHARS:
        raise RefusedError(f"The signature's nonce must have 1 to {MAX_NONCE_CHARS} characters.", "malformed")
    if expires is not None and type(expires) is not int:
        raise RefusedError("The signature's parameter expires must be a whole number.", "malformed")
    return key_id, nonce, created, expires


def _covered_names(covered: InnerList) -> list[str]:
    names: list[str] = []
    for item in covered.items:
        if type(item.value) is not str or item.parameters or item.value in names:
            raise RefusedError("The covered components must be different names without parameters.", "malformed")
        names.append(item.value)
    return names


def _check_coverage(message: SignedMessage, names: list[str]) -> None:
    wanted = {
        "@method": True,
        "@path": True,
        "@query": bool(message.query),
        "content-digest": message.field("content-digest") is not None,
        _SESSION: message.field(_SESSION) is not None,
    }
    for name, needed in wanted.items():
        if needed and name not in names:
            raise RefusedError(f'The signature does not cover "{name}".', "incomplete")


def _component(message: SignedMessage, name: str) -> bytes | None:
    if not name.startswith("@"):
        return message.field(name)
    if name == "@method":
        return message.method.encode()
    if name == "@path":
        return message.path or b"/"
    if name == "@query":
        return b"?" + message.query
    if name == "@authority":
        return (message.field("host") or b"").lower().removesuffix(b":80")
    return None
