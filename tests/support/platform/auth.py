"""Who may talk to the control plane: keys in either header, and requests signed with a key's secret."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from http_message_signatures import (
    HTTPMessageSignaturesException,
    HTTPMessageVerifier,
    HTTPSignatureKeyResolver,
    algorithms,
)
from starlette.exceptions import HTTPException
from starlette.requests import Request

MAX_AGE: Final = timedelta(seconds=300)


class Keys(HTTPSignatureKeyResolver):
    """The keys that the platform knows. `pairs` are key ids with their secrets; such a key id alone opens nothing."""

    def __init__(self, api_keys: set[str], pairs: dict[str, str]) -> None:
        self.api_keys = api_keys
        self.pairs = pairs
        self._nonces: set[str] = set()

    def resolve_private_key(self, key_id: str) -> bytes:
        raise NotImplementedError

    def resolve_public_key(self, key_id: str) -> bytes:
        return self.pairs[key_id].encode()

    async def authenticate(self, request: Request) -> None:
        """Check who sends a request.

        Raises:
            HTTPException: Nobody whom we know.
        """
        headers = request.headers
        if "signature-input" in headers:
            await self._check_signature(request)
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = headers.get("x-api-key") or (token if scheme.lower() == "bearer" else "")
        if not given:
            raise HTTPException(401, "no API key was given")
        if not any(hmac.compare_digest(given.encode(), known.encode()) for known in self.api_keys):
            raise HTTPException(401, "the API key is invalid")

    async def _check_signature(self, request: Request) -> None:
        if "x-api-key" in request.headers or "authorization" in request.headers:
            raise HTTPException(401, "a signed request must carry no key")
        verifier = HTTPMessageVerifier(signature_algorithm=algorithms.HMAC_SHA256, key_resolver=self)
        needed = ["@method", "@path", *(["@query"] if request.url.query else [])]
        try:
            (found,) = verifier.verify(
                _Message(request), max_age=MAX_AGE, require_components=needed, body=await request.body()
            )
        except (HTTPMessageSignaturesException, KeyError, ValueError) as error:
            raise HTTPException(401, f"the signature is wrong: {error}") from error
        if found.label != "sig1" or not found.nonce or found.nonce in self._nonces:
            raise HTTPException(401, "the signature is not labelled sig1, has no nonce, or its nonce was used already")
        self._nonces.add(found.nonce)


@dataclass
class _Message:
    """A request as the library reads it."""

    request: Request

    @property
    def method(self) -> str:
        return self.request.method

    @property
    def url(self) -> str:
        scope = self.request.scope
        query = scope["query_string"].decode()
        return f"http://{self.request.headers.get('host')}{scope['raw_path'].decode()}" + (f"?{query}" if query else "")

    @property
    def headers(self) -> Any:
        return self.request.headers
