"""The state that all views of a client share: provider, connections and sessions, created on first use."""

from __future__ import annotations

import inspect
import threading
from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ppio_agent_models import AgentClientError, ConfigurationError

from .._core import requests
from .._core.retry import RetryBudget
from .._headers import session_headers
from .._io import _async as io
from .._sandbox import Sandbox
from .agent_connection import AgentConnection
from .auth import AuthManager
from .providers.registry import checked_provider, provider_for
from .sandbox_handle import SandboxHandle
from .session import SandboxSession

if TYPE_CHECKING:
    from .._config import ClientConfig
    from .client import AgentRuntimeClient
    from .providers.protocol import SandboxProvider
    from .transport import HttpClient, Transport


class ClientState:
    """The provider, the connections and the sessions of one client.

    Args:
        config: The client's settings, without those of `with_options`.
        auth: Its credentials.
        provider: The provider; unless given, it is created from `config`, and closed with the client.
        http_client: Sends the calls, and isn't closed here; unless given, the client has its own connections.

    Raises:
        ConfigurationError: The provider or the HTTP client belongs to the other kind of client.
    """

    def __init__(
        self,
        config: ClientConfig,
        auth: AuthManager,
        provider: SandboxProvider | None,
        http_client: HttpClient | None,
    ) -> None:
        self.config = config
        self._auth = auth
        self._budget = RetryBudget(config.retry_budget)
        self._provider = None if provider is None else checked_provider(provider)
        self._owns_provider = provider is None
        self._http_client = None if http_client is None else _checked_http_client(http_client)
        self._transport: Transport | None = None
        self._closed = False
        self._made: set[str] = set()  # IDs of the sandboxes that this client created
        self._turns: WeakValueDictionary[str, io.Lock] = WeakValueDictionary()
        # One session object per sandbox, so that closing it by ID closes it for everyone who has it.
        self._sessions: WeakValueDictionary[str, SandboxSession] = WeakValueDictionary()
        self._guard = threading.Lock()  # for the two dicts; never held during a wait

    @property
    def source(self) -> str | None:
        """The name of the provider, or None if it is not decided yet."""
        return self.config.provider if self._owns_provider else type(self._provider).__name__

    def provider(self) -> SandboxProvider:
        """Return the provider.

        Raises:
            AuthenticationError: No provider is set, and there is no key.
        """
        self.check_open()
        if self._provider is None:
            self._provider = provider_for(self.config, self._auth, self.transport, self._budget)
        return self._provider

    async def transport(self) -> Transport:
        """Return the transport of the calls."""
        return self._transport or self._keep(await io.run_blocking(_new_transport, self.config, self._http_client))

    def connection_to(self, sandbox: Sandbox) -> AgentConnection:
        """Return the connection to the agent in a sandbox."""
        headers = session_headers(sandbox.session_id, self.config.headers, sandbox.headers)
        return self.connection(sandbox.url, headers)

    def connection(self, url: str, headers: dict[str, str], auth: AuthManager | None = None) -> AgentConnection:
        """Return the connection to an agent. See `AgentConnection`."""
        return AgentConnection(self.transport, self.config, requests.Peer(url, headers), budget=self._budget, auth=auth)

    def turn(self, session_id: str) -> io.Lock:
        """Return the lock of a session ID: the first caller creates its sandbox, the others find it started."""
        with self._guard:
            return self._turns.setdefault(session_id, io.Lock())

    def session(
        self, client: AgentRuntimeClient, sandbox: Sandbox, life_seconds: float | None, *, keep_alive: bool
    ) -> SandboxSession:
        """Return the session object of a sandbox, the existing one if there is any.

        `life_seconds` is the time to live of a sandbox that was just created; None for one that was found or joined.
        """
        if life_seconds is not None:
            self._made.add(sandbox.sandbox_id)
        with self._guard:
            session = self._sessions.get(sandbox.sandbox_id)
            if session is not None and not session.is_closed:
                session._know(sandbox, keep_alive=keep_alive)
                return session
            connection = self.connection_to(sandbox)
            held = SandboxHandle(
                self.provider(), sandbox, connection, life_seconds, self._made.discard, keep_alive=keep_alive
            )
            session = self._sessions[sandbox.sandbox_id] = SandboxSession(
                sandbox.session_id, connection, held, client=client
            )
            return session

    async def end(self, sandbox_id: str) -> bool:
        """End a sandbox, and close its session object if there is one. Return whether it was running."""
        session = self._sessions.get(sandbox_id)
        ended = await (self.provider().kill(sandbox_id) if session is None else session.close())
        self._made.discard(sandbox_id)
        return ended

    async def end_all(self) -> None:
        """End every sandbox that this client created.

        Raises:
            AgentClientError: Some could not be ended; the others are.
        """
        outcomes = await io.gather([partial(self.end, sandbox_id) for sandbox_id in list(self._made)])
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            raise AgentClientError(
                f"{len(failures)} of {len(outcomes)} sandboxes could not be ended, the first because: {failures[0]}"
            ) from failures[0]

    async def close(self) -> None:
        """Stop extending sandboxes, and close own connections, but not a provider that was passed in."""
        self._closed = True
        try:
            for session in [reference() for reference in self._sessions.valuerefs()]:
                if session is not None:
                    await session._end_keeping()
        finally:
            if self._transport is not None:
                await self._transport.close()
            if self._owns_provider and self._provider is not None:
                await self._provider.close()

    def check_open(self) -> None:
        """Raise an error if the client was closed.

        Raises:
            AgentClientError: It was closed.
        """
        if self._closed:
            raise AgentClientError("this client is closed; create a new one")

    def _keep(self, transport: Transport) -> Transport:
        """Store the transport, unless another caller was first; the unused one has no connections."""
        self.check_open()
        self._transport = self._transport or transport
        return self._transport


def _new_transport(config: ClientConfig, http_client: HttpClient | None) -> Transport:
    """Import httpx, which takes 0.1 s, so not when a client is created, and not on the event loop."""
    from .transport import Transport

    return Transport(config, http_client)


def _checked_http_client(client: HttpClient) -> HttpClient:
    """Return `client` if it has the methods of an httpx client of the right kind (async or not)."""
    if (
        not hasattr(client, "build_request")
        or inspect.iscoroutinefunction(getattr(client, "send", None)) != io.IS_ASYNC
    ):
        raise ConfigurationError(f"http_client must be an httpx.AsyncClient, not {type(client).__qualname__}")
    return client
