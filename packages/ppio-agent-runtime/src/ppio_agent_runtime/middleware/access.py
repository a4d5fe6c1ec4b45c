"""The lock on the door: API keys, and requests signed by RFC 9421. Only there when keys are configured.

It stands inside CORS, so that preflights work, and around everything else: agents, docs, middleware, WebSockets.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from ppio_agent_models import AuthenticationError, PPIOAgentRuntimeError, RequestReadTimeoutError, UnavailableError

from ..http.responses import identity_headers
from .._door.signatures import MAX_SKEW_SECONDS, RefusedError, Signature, SignedMessage, check_digest, verify
from .._http.body import read_body
from .._http.exchange import KEY_ID
from .._http.handshake import refuse_handshake
from .._http.headers import by_name, request_id_of
from .._problems import ClientGoneError, problem_of, send_problem

if TYPE_CHECKING:
    from .._asgi import ASGIApp, Headers, Message, Receive, Scope, Send
    from .._http.exchange import Answerer, Exchange
    from .._settings.config import AgentConfig

logger = logging.getLogger("ppio_agent_runtime")

MAX_NONCES: Final = 262_144
"""How many nonces are remembered, about 40 MB; beyond that signed requests wait until the oldest is forgotten."""
_ACCEPT_SIGNATURE: Final = (
    b"accept-signature",
    b'sig1=("@method" "@path" "@query" "content-digest" "x-ppio-session-id");created;nonce;keyid;alg="hmac-sha256"',
)


class AccessLayer:
    """Lets those in who hold a key.

    Args:
        app: What is inside.
        config: Has `api_keys`, `hmac_keys` or both; either opens the door.
        on_refused: Hears of each refusal.
    """

    def __init__(self, app: ASGIApp, config: AgentConfig, on_refused: Callable[[Exception], None]) -> None:
        self._app = app
        self._config = config
        self._on_refused = on_refused
        self._api_keys = ApiKeys(config.api_keys or [])
        self._secrets = {key_id: secret.encode() for key_id, secret in (config.hmac_keys or {}).items()}
        self._nonces = NonceMemory(config.signature_max_age_seconds)
        self._open = frozenset({"/ping", "/metrics"} if config.metrics_public else {"/ping"})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on with the id of its key in the scope, or refuse it."""
        kind = scope["type"]
        if kind == "lifespan" or (kind == "http" and self._is_open(scope)):
            return await self._app(scope, receive, send)
        try:
            key_id = self._api_keys.holder(scope["headers"])
            if key_id is None:
                key_id, receive = await self._signer(scope, receive)
        except ClientGoneError:
            return None
        except PPIOAgentRuntimeError as error:
            return await self._refuse(error, scope, send)
        scope[KEY_ID] = key_id
        await self._app(scope, receive, send)

    def around(self, answer: Answerer) -> Answerer:
        """Return `answer` behind the API keys; who shows none of them comes in through ASGI, or not at all."""

        def keyed(exchange: Exchange) -> Awaitable[None]:
            exchange.key_id = self._api_keys.holder(exchange.headers)
            if exchange.key_id is None:
                return self(exchange.scope, exchange.receive, exchange.send)
            return answer(exchange)

        return keyed

    def _is_open(self, scope: Scope) -> bool:
        path: str = scope["path"]
        return path.removeprefix(scope.get("root_path", "")) in self._open

    async def _signer(self, scope: Scope, receive: Receive) -> tuple[str, Receive]:
        """Return the key id of the request's signature, and a `receive` that gives the body which was checked.

        Raises:
            PPIOAgentRuntimeError: It is not signed as it should be, or its body does not come as it should.
        """
        message = _signed_message(scope)
        if not self._secrets or message.field("signature-input") is None:
            raise self._not_opened(scope["headers"])
        now = time.time()
        max_age = self._config.signature_max_age_seconds
        signature = verify(message, self._secrets, now=now, max_age_seconds=max_age)
        body = b""
        if scope["type"] == "http":
            body = await self._body(message, receive)
            receive = _once(body, receive)
        check_digest(message, body, signature)
        self._nonces.use(signature, now)
        return signature.key_id, receive

    async def _body(self, message: SignedMessage, receive: Receive) -> bytes:
        limit = self._config.request_read_timeout_seconds
        try:
            async with asyncio.timeout(limit):
                return await read_body(receive, message.field("content-length"), self._config.max_request_size)
        except TimeoutError:
            raise RequestReadTimeoutError(
                f"The body did not arrive within {limit:g} s, the limit 'request_read_timeout_seconds'."
            ) from None

    def _not_opened(self, headers: Headers) -> RefusedError:
        if ApiKeys.given(headers):
            return RefusedError("The API key is wrong.", "wrong")
        ways = ["send a key as 'Authorization: Bearer ...' or 'X-API-KEY'"] if self._api_keys else []
        ways += ["sign the request (RFC 9421)"] if self._secrets else []
        return RefusedError(f"This agent wants to know who calls: {', or '.join(ways)}.", "missing")

    async def _refuse(self, error: PPIOAgentRuntimeError, scope: Scope, send: Send) -> None:
        # Counted under the name that callers see.
        self._on_refused(AuthenticationError(error.message) if isinstance(error, RefusedError) else error)
        request_id = request_id_of(by_name(scope["headers"]))
        headers = identity_headers(request_id, None)
        if isinstance(error, RefusedError):
            headers += self._challenges(error)
            logger.info("Access refused (request %s): %s", request_id, error.reason)
        problem = problem_of(error, request_id=request_id, tells_errors=False)
        if scope["type"] == "websocket":
            await refuse_handshake(scope, send, problem, request_id=request_id, session_id=None, headers=headers)
        else:
            await send_problem(send, problem, request_id=request_id, session_id=None, headers=headers)

    def _challenges(self, error: RefusedError) -> Headers:
        """Return `WWW-Authenticate` (RFC 9110, section 11.6.1; RFC 6750, section 3) and `Accept-Signature`."""
        reason = b"" if error.reason == "missing" else b', error="%b"' % error.reason.encode()
        challenges: Headers = []
        if self._api_keys:
            challenges.append((b"www-authenticate", b'Bearer realm="agent"' + reason))
        if self._secrets:
            challenges += [(b"www-authenticate", b'Signature realm="agent"' + reason), _ACCEPT_SIGNATURE]
        return challenges


class ApiKeys:
    """The accepted API keys, as digests: comparing takes the same time whatever is sent, and wherever it differs."""

    def __init__(self, keys: list[str]) -> None:
        digests = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._keys = [(digest, f"key-{digest.hex()[:12]}") for digest in digests]

    def __bool__(self) -> bool:
        return bool(self._keys)

    @staticmethod
    def given(headers: Headers) -> list[bytes]:
        """Return the keys that a request carries."""
        found: list[bytes] = []
        for name, value in headers:
            if name == b"x-api-key":
                found.append(value.strip())
            elif name == b"authorization" and value[:7].lower() == b"bearer ":
                found.append(value[7:].strip())
        return found

    def holder(self, headers: Headers) -> str | None:
        """Return the id of the key in these headers, or None. Every configured key is compared, after a match too."""
        holder = None
        if self._keys:
            for key in self.given(headers):
                digest = hashlib.sha256(key).digest()
                for known, key_id in self._keys:
                    if hmac.compare_digest(digest, known):
                        holder = key_id
        return holder


class NonceMemory:
    """Nonces that were used, each until its signature has expired anyway. One process's own memory.

    Args:
        max_age_seconds: How long a signature is accepted.
        most: How many are remembered at once.
    """

    def __init__(self, max_age_seconds: float, most: int = MAX_NONCES) -> None:
        self._most = most
        self._keep_seconds = max_age_seconds + MAX_SKEW_SECONDS  # what is ahead of our clock lives so much longer
        self._used: dict[bytes, float] = {}

    def use(self, signature: Signature, now: float) -> None:
        """Remember the nonce.

        Raises:
            RefusedError: It was used before.
            UnavailableError: There is no room; to forget one that still counts would open the door to a replay.
        """
        nonce = f"{len(signature.key_id)}:{signature.key_id}{signature.nonce}".encode()
        digest = hashlib.sha256(nonce).digest()[:16]
        while self._used and next(iter(self._used.values())) <= now:
            del self._used[next(iter(self._used))]
        if digest in self._used:
            raise RefusedError("The nonce was used before; sign each request anew.", "replayed")
        if len(self._used) >= self._most:
            raise UnavailableError("Too many signed requests in a short time; come back a little later.", retry_after=1)
        self._used[digest] = now + self._keep_seconds


def _signed_message(scope: Scope) -> SignedMessage:
    path = scope.get("raw_path") or quote(scope["path"], safe="/:@!$&'()*+,;=~").encode()
    return SignedMessage(scope.get("method", "GET"), path, scope.get("query_string", b""), scope["headers"])


def _once(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives the whole body first, then whatever comes after it."""
    given = False

    async def replay() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replay
