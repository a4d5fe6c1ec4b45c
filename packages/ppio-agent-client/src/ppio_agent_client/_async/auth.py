"""Credentials for the platform, fetched and renewed if they expire, and session tokens."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, NoReturn

from ppio_agent_models import AuthenticationError, ConfigurationError, PPIOAgentRuntimeError

from .._core import credentials
from .._core.credentials import KeptToken
from .._core.signing import HmacSigner
from .._headers import without_space
from .._io import _async as io
from .._settings import Credential, RequestSigner

if TYPE_CHECKING:
    from .._config import ClientConfig

logger = logging.getLogger("ppio_agent_client")


class AuthManager:
    """The credentials of a client. Get it as `client.auth_manager`, or make one and share it.

    Creating one sends nothing. Tasks, event loops and threads can share it.

    Args:
        api_key: Key of the platform, or a callable that fetches one that expires. Its key is kept, renewed a while
            before it expires, and once more if it is refused; however many callers wait for it, it is called once.
        api_secret: Secret that belongs to the key. With it requests are signed (RFC 9421), and the key only names it.
        signer: Signs instead of `api_key` and `api_secret`.
        session_secret: Tokens of sessions are derived from this; from the secret, else the key, unless given.
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
        self._key = (without_space(api_key, "the api_key") if isinstance(api_key, str) else api_key) or None
        self._secret = without_space(api_secret or "", "the api_secret") or None
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
        """Whether there is a key or a signer."""
        return self._key is not None or self._signer is not None

    @property
    def signs(self) -> bool:
        """Whether requests are signed, so that the key itself isn't sent."""
        return self._signer is not None or self._secret is not None

    @property
    def fixed_key(self) -> str | None:
        """The key, if it is sent as it is; None if it is fetched or only names a secret."""
        return self._key if isinstance(self._key, str) and not self.signs else None

    @property
    def api_key(self) -> Credential | None:
        """The key, or the callable that fetches one; None if there is none. The secret can't be read."""
        return self._key

    async def get_auth_headers(
        self, method: str | None = None, url: str | None = None, body: bytes | str = b""
    ) -> dict[str, str]:
        """Return the headers that authenticate a request: the key as bearer token, or a signature.

        Args:
            method: Method of the request to sign, in upper case.
            url: Its full URL. Without method and URL a signature covers only its own parameters, as RFC 9421 allows:
                it could be copied to another request, so agents of this SDK refuse it.
            body: Its whole body.

        Raises:
            AuthenticationError: There is no credential, or it could not be fetched.
            ConfigurationError: One of method and URL is missing, or both, and requests are signed by a `signer`.
        """
        if not self.signs:
            return credentials.key_headers(await self._token(), bearer=True)
        if method is not None and url is not None:
            whole = body.encode() if isinstance(body, str) else body
            return await self.authorize(method.upper(), url, {}, whole, bearer=True)
        if self._signer is not None or self._secret is None or method or url or body:
            raise ConfigurationError("a signature belongs to one request: pass method= and url=")
        signer = HmacSigner(await self._token(), self._secret)
        return signer.sign_nothing(created=int(io.unix_now()), nonce=io.nonce())

    async def authorize(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b"", *, bearer: bool = False
    ) -> dict[str, str]:
        """Return the headers that authenticate one attempt, to be added to its own; a retry needs new ones.

        Args:
            method: In upper case.
            headers: The headers that the request already has.
            bearer: Send the key as bearer token, not as `X-API-KEY`; a signature is the same either way.

        Raises:
            AuthenticationError: There is no credential, or it could not be fetched.
            ConfigurationError: It can't be sent in a header.
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
            refused: The headers of the attempt. If another credential was fetched since then, that one is used.

        Returns:
            Whether there is one that hasn't been refused yet, so that one more attempt makes sense.

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
        """Fetch another credential now. A fixed key doesn't change.

        Raises:
            AuthenticationError: It could not be fetched.
        """
        await self.renew()

    def session_token(self, session_id: str) -> str:
        """Return the token for the agent of a session: the same in every process that has the same secret.

        Raises:
            AuthenticationError: There is no credential.
            ConfigurationError: The credential is a callable or a signer, and there is no fixed secret.
        """
        secret = self._session_secret or self._secret or self._key
        if isinstance(secret, str):
            return credentials.session_token(secret, session_id)
        if not self.has_credential:
            raise missing_credential()
        raise ConfigurationError(
            "session tokens are derived from a permanent secret, which a callable api_key or a signer is not: pass "
            "ClientConfig(session_secret=...) or set PPIO_AGENT_SESSION_SECRET, the same in every process that shares "
            "the sessions"
        )

    async def _token(self) -> str:
        if self._key is None:
            raise missing_credential()
        if isinstance(self._key, str):
            return self._key
        kept = self._kept
        # While it is being renewed, other callers use the old one if it is still valid.
        if kept is not None and io.unix_now() < (kept.ends_at if self._fetching.is_running else kept.renew_at):
            return kept.token
        try:
            return (await self._fetching.run(partial(self._fetch, kept))).token
        except AuthenticationError as error:
            if kept is None or io.unix_now() >= kept.ends_at:
                raise
            logger.warning("the api_key could not be renewed, but is still valid: %s", error)
            if self._kept is kept:
                self._kept = kept.used_on(unix_now=io.unix_now())
            return kept.token

    async def _fetch(self, old: KeptToken | None) -> KeptToken:
        """Return a credential other than `old`, unless the source returns the same again."""
        if self._kept is not None and self._kept is not old:
            return self._kept  # fetched meanwhile
        assert callable(self._key)
        try:
            fetched = await io.called(self._key)
        except PPIOAgentRuntimeError:
            raise
        except Exception as error:
            raise AuthenticationError(
                f"the callable passed as api_key failed with {type(error).__qualname__}"
            ) from error
        self._kept = credentials.kept_token(fetched, unix_now=io.unix_now())
        return self._kept


def auth_of(config: ClientConfig) -> AuthManager:
    """Return the credentials in the settings."""
    return AuthManager(config.api_key, config.api_secret, signer=config.signer, session_secret=config.session_secret)


def checked_auth(auth: object) -> AuthManager:
    """Return `auth` if it fits this client.

    Raises:
        ConfigurationError: It is something else, or belongs to the other kind of client.
    """
    if not isinstance(auth, AuthManager):
        raise ConfigurationError(f"credentials must be of the class AuthManager here, not {type(auth).__qualname__}")
    return auth


def missing_credential() -> AuthenticationError:
    """Return the error for missing credentials."""
    return AuthenticationError(
        "no credential and no provider: set PPIO_API_KEY or pass api_key=, "
        'or work without an account with provider="local" (LocalSandboxProvider)'
    )
