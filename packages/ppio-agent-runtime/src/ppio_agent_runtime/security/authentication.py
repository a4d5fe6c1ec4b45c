"""Authentication: API keys, and requests signed by RFC 9421. Only in the middleware stack when keys are configured.

It is inside CORS, so that preflight requests work, and around everything else: agents, docs, middleware, WebSockets.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from ppio_agent_models import AuthenticationError, PPIOAgentRuntimeError

from ..errors import ClientGoneError, RefusedError
from ..http.request import KEY_ID, by_name, request_id_of
from ..http.responses import refuse
from ..observability.logging import logger

if TYPE_CHECKING:
    from ..asgi import ASGIApp, Headers, Receive, Scope, Send
    from ..config import AgentConfig
    from .signatures import SignatureVerifier


class AuthenticationMiddleware:
    """Passes on requests with a valid key or signature, with the key's ID in the scope.

    API keys are stored as digests, so a comparison takes the same time whatever is sent.

    Args:
        app: The next ASGI app.
        config: Has `api_keys`, `hmac_keys` or both; a request needs one of either.
        on_refused: Called for each refusal.
        open_paths: Further paths that need no key.
    """

    def __init__(
        self,
        app: ASGIApp,
        config: AgentConfig,
        on_refused: Callable[[Exception], None],
        open_paths: Iterable[str] = (),
    ) -> None:
        self._app = app
        self._on_refused = on_refused
        digests = [hashlib.sha256(key.encode()).digest() for key in config.api_keys or ()]
        self._api_keys = [(digest, f"key-{digest.hex()[:12]}") for digest in digests]
        self._signatures: SignatureVerifier | None = None
        if config.hmac_keys:
            from .signatures import SignatureVerifier  # imports http-sf

            self._signatures = SignatureVerifier(config)
        self._open = frozenset({"/ping", "/metrics"} if config.metrics_public else {"/ping"}).union(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        kind = scope["type"]
        is_open = kind == "http" and scope["path"].removeprefix(scope.get("root_path", "")) in self._open
        if kind == "lifespan" or is_open:
            return await self._app(scope, receive, send)
        try:
            sent = _api_keys_in(scope["headers"])
            key_id = self._id_of(sent)
            if key_id is None:
                if self._signatures is None or not self._signatures.is_signed(scope["headers"]):
                    raise self._unauthenticated(sent)
                key_id, receive = await self._signatures.verify(scope, receive)
        except ClientGoneError:
            return None
        except PPIOAgentRuntimeError as error:
            return await self._refuse(error, scope, send)
        scope[KEY_ID] = key_id
        await self._app(scope, receive, send)

    def _id_of(self, sent: list[bytes]) -> str | None:
        """Return the ID of the last of these API keys that is valid. All are compared, even after a match."""
        found = None
        for key in sent:
            digest = hashlib.sha256(key).digest()
            for known, key_id in self._api_keys:
                if hmac.compare_digest(digest, known):
                    found = key_id
        return found

    def _unauthenticated(self, sent: list[bytes]) -> RefusedError:
        if sent:
            return RefusedError("The API key is wrong.", "wrong")
        ways = ["send a key as 'Authorization: Bearer ...' or 'X-API-KEY'"] if self._api_keys else []
        ways += ["sign the request (RFC 9421)"] if self._signatures is not None else []
        return RefusedError(f"This agent requires authentication: {', or '.join(ways)}.", "missing")

    async def _refuse(self, error: PPIOAgentRuntimeError, scope: Scope, send: Send) -> None:
        # Counted under the error type that callers see.
        self._on_refused(AuthenticationError(error.message) if isinstance(error, RefusedError) else error)
        request_id = request_id_of(by_name(scope["headers"]))
        challenges: Headers = []
        if isinstance(error, RefusedError):
            challenges = self._challenges(error)
            logger.info("Access refused (request %s): %s", request_id, error.reason)
        await refuse(scope, send, error, request_id=request_id, more_headers=challenges)

    def _challenges(self, error: RefusedError) -> Headers:
        """Return `WWW-Authenticate` (RFC 9110, section 11.6.1; RFC 6750, section 3) and `Accept-Signature`."""
        reason = b"" if error.reason == "missing" else b', error="%b"' % error.reason.encode()
        challenges: Headers = []
        if self._api_keys:
            challenges.append((b"www-authenticate", b'Bearer realm="agent"' + reason))
        if self._signatures is not None:
            challenges.append((b"www-authenticate", b'Signature realm="agent"' + reason))
            challenges.append(self._signatures.accept_signature)
        return challenges


def _api_keys_in(headers: Headers) -> list[bytes]:
    found: list[bytes] = []
    for name, value in headers:
        if name == b"x-api-key":
            found.append(value.strip())
        elif name == b"authorization" and value[:7].lower() == b"bearer ":
            found.append(value[7:].strip())
    return found
