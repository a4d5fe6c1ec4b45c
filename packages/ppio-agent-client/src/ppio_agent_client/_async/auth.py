"""Who calls: what is shown to the platform, fetched and renewed where it ends, and the tokens of sessions."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import NoReturn

from ppio_agent_models import AuthenticationError, ConfigurationError, PPIOAgentRuntimeError

from .._config import Credential, RequestSigner
from .._core import credentials
from .._core.credentials import KeptToken
from .._core.signing import HmacSigner
from .._io import _async as io

logger = logging.getLogger("ppio_agent_client")


class AuthManager:
    """The credentials of a client. Get it as `client.auth_manager`, or make one and share it.

    Making one asks nobody anything. Tasks, event loops and threads may share it.

    Args:
        api_key: Key of the platform, or a callable that fetches one that ends. What a callable gives is kept, renewed a
            while before its end, and once more when it is refused; however many need it, it is called once.
        api_secret: Secret that belongs to the key. With it requests are signed (RFC 9421), and the key only names it.
        signer: Signs instead of `api_key` and `api_secret`.
        session_secret: What tokens of sessions are derived from; the secret, else the key, unless given.
    """

    def __init__(
        self,
        api_key: Credential | None = None,
        api_secret: str | None = None,
        *,
        signer: RequestSigner | None = None,
        session_secret: str | None = None,
    ) -> None:
        if api_key is not None and not isinstance(api_key, str) and not callable(api_key):
            raise ConfigurationError(f"an api_key is a str or a callable, not {type(api_key).__qualname__}")
        self._key = api_key or None
        self._secret = api_secret or None
        self._signer = signer
        self._session_secret = session_secret or None
        self._kept: KeptToken | None = None
        self._fetching = io.SingleFlight[KeptToken]()

    def __repr__(self) -> str:
        kind = "none" if self._key is None else "fixed" if isinstance(self._key, str) else "fetched"
        return f"<{type(self).__name__} api_key {kind}, {'signs' if self.signs else 'does not sign'}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("an AuthManager holds secrets and is not pickled; make one in each process")

    @property
    def has_credential(self) -> bool:
        """Whether there is anything to show."""
        return self._key is not None or self._signer is not None

    @property
    def signs(self) -> bool:
        """Whether requests are signed, so that no key travels."""
        return self._signer is not None or self._secret is not None

    @property
    def fixed_key(self) -> str | None:
        """The key where it is shown as it is; None where it is fetched or only names a secret."""
        return self._key if isinstance(self._key, str) and not self.signs else None

    async def get_auth_headers(self) -> dict[str, str]:
        """Return the header that shows the key as bearer token.

        Raises:
            AuthenticationError: There is none, or it could not be fetched.
            ConfigurationError: Requests are signed: each needs headers of its own, which `authorize` makes.
        """
        if self.signs:
            raise ConfigurationError(
                "a signature belongs to one request: use authorize(method, url, headers, body) instead"
            )
        return credentials.key_headers(await self._token(), bearer=True)

    async def authorize(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *, bearer: bool = False
    ) -> dict[str, str]:
        """Return the headers that one attempt needs on top of its own; a retry needs others.

        Args:
            method: In upper case.
            headers: What the request carries already.
            bearer: Show the key as bearer token, not as `X-API-KEY`; a signature is the same either way.

        Raises:
            AuthenticationError: There is no credential, or it could not be fetched.
            ConfigurationError: It cannot stand in a header.
        """
        signer = self._signer
        if signer is None:
            key = await self._token()
            if self._secret is None:
                return credentials.key_headers(key, bearer=bearer)
            signer = HmacSigner(key, self._secret)
        return signer.sign(method, url, headers, body, created=int(io.unix_now()), nonce=io.nonce())

    async def renew(self, refused: Mapping[str, str] | None = None) -> bool:
        """Fetch another credential after a 401.

        Args:
            refused: The headers of the attempt. If somebody else has fetched another credential since, that will do.

        Returns:
            Whether there is one that was not refused yet, so that one more attempt makes sense.

        Raises:
            AuthenticationError: It could not be fetched.
        """
        if self._key is None or isinstance(self._key, str):
            return False
        old = self._kept
        if old is not None and refused is not None and not any(old.token in shown for shown in refused.values()):
            return True
        fresh = await self._fetching.run(partial(self._fetch, old))
        return old is None or fresh.token != old.token

    async def refresh_token(self) -> None:
        """Fetch another credential now. A fixed key stays what it is.

        Raises:
            AuthenticationError: It could not be fetched.
        """
        await self.renew()

    def session_token(self, session_id: str) -> str:
        """Return what opens the agent of a session: the same in every process that has the same secret.

        Raises:
            AuthenticationError: There is no credential.
            ConfigurationError: The credential is a callable or a signer, and there is no secret that stays.
        """
        secret = self._session_secret or self._secret or self._key
        if isinstance(secret, str):
            return credentials.session_token(secret, session_id)
        if not self.has_credential:
            raise missing_credential()
        raise ConfigurationError(
            "tokens of sessions are derived from a secret that stays, and a callable api_key or a signer is none: pass "
            "ClientConfig(session_secret=...) or set PPIO_AGENT_SESSION_SECRET, the same in every process that shares "
            "the sessions"
        )

    async def _token(self) -> str:
        if self._key is None:
            raise missing_credential()
        if isinstance(self._key, str):
            return self._key
        kept = self._kept
        # While somebody renews it, the others go on with what is good for a while yet.
        if kept is not None and io.unix_now() < (kept.ends_at if self._fetching.is_running else kept.renew_at):
            return kept.token
        try:
            return (await self._fetching.run(partial(self._fetch, kept))).token
        except AuthenticationError as error:
            if kept is None or io.unix_now() >= kept.ends_at:
                raise
            logger.warning("the api_key could not be renewed and is good for a while yet: %s", error)
            if self._kept is kept:
                self._kept = kept.used_on(unix_now=io.unix_now())
            return kept.token

    async def _fetch(self, old: KeptToken | None) -> KeptToken:
        """Return a credential that is not `old`, unless the source gives just that again."""
        if self._kept is not None and self._kept is not old:
            return self._kept  # somebody fetched it since the caller looked
        assert callable(self._key)
        try:
            fetched = await io.called(self._key)
        except PPIOAgentRuntimeError:
            raise
        except Exception as error:
            raise AuthenticationError(
                f"the callable that was given as api_key failed with {type(error).__qualname__}"
            ) from error
        self._kept = credentials.kept_token(fetched, unix_now=io.unix_now())
        return self._kept


def checked_auth(auth: object) -> AuthManager:
    """Return `auth` if it fits this client.

    Raises:
        ConfigurationError: It is something else, or belongs to the other kind of client.
    """
    if not isinstance(auth, AuthManager):
        raise ConfigurationError(f"credentials must be of the class AuthManager here, not {type(auth).__qualname__}")
    return auth


def missing_credential() -> AuthenticationError:
    """Return the error for a caller who has nothing to show."""
    return AuthenticationError(
        "no credential and no provider: set PPIO_API_KEY or pass api_key=, "
        'or work without an account with provider="local" (LocalSandboxProvider)'
    )
