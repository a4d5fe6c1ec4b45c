"""Signed requests: HTTP message signatures (RFC 9421) with HMAC-SHA256, and digests of bodies (RFC 9530).

Imported only if `hmac_keys` are set, like http-sf, which parses the structured fields (RFC 9651) of signatures. A
signature must cover method and path, the query and the body's digest if there is one, and, if sent, every header that
decides about session, user, time limit and idempotency key.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote

import http_sf

from ppio_agent_models import SIGNED_HEADERS, UnavailableError

from ..errors import RefusedError
from ..http.request import read_body_in_time

if TYPE_CHECKING:
    from ..asgi import Headers, Message, Receive, Scope
    from ..config import AgentConfig

LABEL: Final = "sig1"
ALGORITHM: Final = "hmac-sha256"
MAX_SKEW_SECONDS: Final = 60
"""How far the clock of a caller may be ahead of ours."""
MAX_NONCE_CHARS: Final = 256
MAX_NONCES: Final = 262_144
"""How many nonces are remembered, about 40 MB; beyond that, signed requests get 503 until the oldest ones expire."""
COVERED_HEADERS: Final = tuple(map(str.lower, SIGNED_HEADERS))

CoveredComponents = tuple[list[Any], dict[str, Any]]
"""An inner list in the form of http-sf: items as pairs of name and parameters, and parameters of the list."""


class SignedMessage:
    """The parts of a request that can be signed.

    Args:
        method: As sent.
        path: Percent-encoded as sent, without the query.
        query: As sent, without the question mark; empty when there is none.
        headers: Raw pairs, names in lower case.
    """

    __slots__ = ("_fields", "method", "path", "query")

    def __init__(self, method: str, path: bytes, query: bytes, headers: Headers) -> None:
        self.method: str = method
        self.path: bytes = path
        self.query: bytes = query
        self._fields: dict[str, bytes] = {}
        for raw, value in headers:
            name, line = raw.decode("latin-1"), value.strip(b" \t")
            self._fields[name] = b"%b, %b" % (self._fields[name], line) if name in self._fields else line

    @classmethod
    def from_scope(cls, scope: Scope) -> SignedMessage:
        """Return what an ASGI server received."""
        path = scope.get("raw_path") or quote(scope["path"], safe="/:@!$&'()*+,;=~").encode()
        return cls(scope.get("method", "GET"), path, scope.get("query_string", b""), scope["headers"])

    def component(self, name: str) -> bytes | None:
        """Return the value of a header field, lines combined, or of a derived component (RFC 9421, sections 2.1, 2.2).

        None if it was not sent or is unknown.
        """
        derived = {
            "@method": self.method.encode(),
            "@path": self.path or b"/",
            "@query": b"?" + self.query,
            "@authority": self._fields.get("host", b"").lower().removesuffix(b":80"),
        }
        return derived[name] if name in derived else self._fields.get(name)


class Signature(NamedTuple):
    """A valid signature; nonce and body are checked later.

    Attributes:
        key_id: ID of the key that made it.
        nonce: May be used only once with this key.
        covers_digest: It covers the body's digest, which must match; otherwise the body must be empty.
    """

    key_id: str
    nonce: str
    covers_digest: bool


class SignatureVerifier:
    """Checks signed requests against `hmac_keys`, and remembers their nonces in this process.

    Attributes:
        accept_signature: The response field that names what to sign (RFC 9421, section 5.1).
    """

    accept_signature: tuple[bytes, bytes] = (
        b"accept-signature",
        b'%b=("@method" "@path" "@query" %b);created;nonce;keyid;alg="%b"'
        % (LABEL.encode(), " ".join(f'"{name}"' for name in COVERED_HEADERS).encode(), ALGORITHM.encode()),
    )

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._secrets = {key_id: secret.encode() for key_id, secret in (config.hmac_keys or {}).items()}
        self._nonces = NonceMemory(config.signature_max_age_seconds)

    @staticmethod
    def is_signed(headers: Headers) -> bool:
        """Return whether a request has a signature, valid or not."""
        return any(name == b"signature-input" for name, _ in headers)

    async def verify(self, scope: Scope, receive: Receive) -> tuple[str, Receive]:
        """Return the key ID of the request's signature, and a `receive` that returns the checked body.

        Raises:
            RefusedError: It is not signed correctly.
            RequestReadTimeoutError: The body did not arrive in time.
            PayloadTooLargeError: The body is larger than `max_request_size`.
            UnavailableError: Too many nonces are remembered.
            ClientGoneError: The caller disconnected.
        """
        message = SignedMessage.from_scope(scope)
        now = time.time()
        signature = verify(message, self._secrets, now=now, max_age_seconds=self._config.signature_max_age_seconds)
        has_body = scope["type"] == "http"
        length = message.component("content-length")
        body = await read_body_in_time(receive, length, self._config) if has_body else b""
        check_digest(message, body, signature)
        self._nonces.add(signature, now)

        async def replay() -> Message:
            nonlocal has_body
            if not has_body:
                return await receive()
            has_body = False
            return {"type": "http.request", "body": body, "more_body": False}

        return signature.key_id, replay


class NonceMemory:
    """The used nonces, each until its signature expires. They are not shared between processes.

    Args:
        max_age_seconds: How long a signature is accepted.
        max_nonces: How many are remembered at once.
    """

    def __init__(self, max_age_seconds: float, max_nonces: int = MAX_NONCES) -> None:
        self._max_nonces = max_nonces
        self._keep_seconds = max_age_seconds + MAX_SKEW_SECONDS  # a caller's clock may be ahead
        self._used: dict[bytes, float] = {}

    def add(self, signature: Signature, now: float) -> None:
        """Remember the nonce.

        Raises:
            RefusedError: It was used before.
            UnavailableError: There is no room; dropping a nonce that is still valid would allow a replay.
        """
        nonce = f"{len(signature.key_id)}:{signature.key_id}{signature.nonce}".encode()
        digest = hashlib.sha256(nonce).digest()[:16]
        while self._used and next(iter(self._used.values())) <= now:
            del self._used[next(iter(self._used))]
        if digest in self._used:
            raise RefusedError("The nonce was used before; sign each request separately.", "replayed")
        if len(self._used) >= self._max_nonces:
            raise UnavailableError("Too many signed requests in a short time; try again later.", retry_after=1)
        self._used[digest] = now + self._keep_seconds


def verify(message: SignedMessage, secrets: Mapping[str, bytes], *, now: float, max_age_seconds: float) -> Signature:
    """Return the signature of a request after checking it.

    Args:
        secrets: Key ID to secret.
        now: Unix seconds.
        max_age_seconds: How old it may be.

    Raises:
        RefusedError: It is missing, malformed, does not cover enough, too old, from the future, or wrong.
    """
    covered, given = _read_fields(message)
    key_id, nonce, created, expires = _parameters(covered)
    names = _covered_names(covered)
    required = ["@method", "@path", *(["@query"] if message.query else [])]
    required += [name for name in COVERED_HEADERS if message.component(name) is not None]
    for name in required:
        if name not in names:
            raise RefusedError(f'The signature does not cover "{name}".', "incomplete")
    # An unknown key ID takes the same time and gets the same message as a wrong secret.
    expected = sign(signature_base(message, covered), secrets.get(key_id, b"unknown"))
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
    try:
        digest = _parse_dictionary(message.component("content-digest") or b"").get("sha-256")
    except ValueError as error:
        raise RefusedError(f"The header Content-Digest is malformed: {error}.", "malformed") from None
    if digest is None or not isinstance(digest[0], bytes):
        raise RefusedError("The header Content-Digest must have a sha-256.", "malformed")
    if not hmac.compare_digest(digest[0], hashlib.sha256(body).digest()):
        raise RefusedError("The body is not the one that was signed.", "digest")


def sign(base: bytes, secret: bytes) -> bytes:
    """Return the signature of a signature base (RFC 9421, section 3.3.3)."""
    return hmac.digest(secret, base, "sha256")


def signature_base(message: SignedMessage, covered: CoveredComponents) -> bytes:
    """Return the signature base (RFC 9421, section 2.5).

    Raises:
        RefusedError: A covered component is unknown, was not sent, or is named twice.
    """
    lines: list[bytes] = []
    for name in _covered_names(covered):
        value = message.component(name)
        if value is None:
            raise RefusedError("The signature covers a component that was not sent or is unknown.", "malformed")
        lines.append(b'"%b": %b' % (name.encode(), value))
    only_member: list[Any] = [covered]  # http-sf serializes whole fields: a list with one member is that member
    return b"\n".join([*lines, b'"@signature-params": ' + http_sf.ser(only_member).encode()])


def _parse_dictionary(field: bytes) -> dict[str, Any]:
    """Return the members of a dictionary, each a pair of value and parameters; of repeated keys the last one wins.

    Raises:
        ValueError: It is not a dictionary; the message has the position, but not the text.
    """
    members: dict[str, Any] = http_sf.parse(field, tltype="dictionary")  # type: ignore[assignment]  # by its `tltype`
    return members


def _read_fields(message: SignedMessage) -> tuple[CoveredComponents, bytes]:
    """Return the covered components with their parameters, and the signature."""
    inputs, signatures = message.component("signature-input"), message.component("signature")
    if inputs is None or signatures is None:
        raise RefusedError("The request is not signed.", "missing")
    try:
        covered = _parse_dictionary(inputs).get(LABEL)
        given = _parse_dictionary(signatures).get(LABEL)
    except ValueError as error:
        raise RefusedError(f"The headers Signature-Input and Signature cannot be read: {error}.", "malformed") from None
    if covered is None or given is None or not isinstance(covered[0], list) or not isinstance(given[0], bytes):
        raise RefusedError(f"There is no signature under the label {LABEL!r}.", "malformed")
    return covered, given[0]


def _parameters(covered: CoveredComponents) -> tuple[str, str, int, int | None]:
    """Return key ID, nonce, and when the signature was created and expires, in unix seconds."""
    given = covered[1]
    key_id, nonce, created, expires = map(given.get, ("keyid", "nonce", "created", "expires"))
    if given.get("alg", ALGORITHM) != ALGORITHM:
        raise RefusedError(f"The signature's algorithm must be {ALGORITHM}.", "malformed")
    if type(key_id) is not str or type(nonce) is not str or type(created) is not int:
        raise RefusedError("The signature needs the parameters created, nonce and keyid.", "incomplete")
    if not 0 < len(nonce) <= MAX_NONCE_CHARS:
        raise RefusedError(f"The signature's nonce must have 1 to {MAX_NONCE_CHARS} characters.", "malformed")
    if expires is not None and type(expires) is not int:
        raise RefusedError("The signature's parameter expires must be a whole number.", "malformed")
    return key_id, nonce, created, expires


def _covered_names(covered: CoveredComponents) -> list[str]:
    names: list[str] = []
    for name, parameters in covered[0]:
        if type(name) is not str or parameters or name in names:
            raise RefusedError("The covered components must be different names without parameters.", "malformed")
        names.append(name)
    return names
