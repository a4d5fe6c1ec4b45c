"""What all views of a client share: what it opens when it is first needed, and closes once."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from ppio_agent_models import AgentClientError, ConfigurationError

from .._config import ClientConfig
from .._core import requests
from .._core.retry import RetryBudget
from .._io import _async as io
from .._sandbox import Sandbox
from .agent_connection import AgentConnection
from .auth import AuthManager
from .providers.registry import checked_provider, provider_for

if TYPE_CHECKING:
    from .providers.protocol import SandboxProvider
    from .transport import HttpClient, Transport


class ClientState:
    """The provider and the connections of one client.

    Args:
        config: The client's own settings, without those of a view.
        auth: Its credentials.
        provider: Where its sandboxes come from; made as `config` says, and closed with the client, unless given.
        http_client: What carries its calls, closed by whoever made it; its own unless given.

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

    @property
    def source(self) -> str | None:
        """What sandboxes come from, in a word; None where that is still open."""
        return self.config.provider if self._owns_provider else type(self._provider).__name__

    def provider(self) -> SandboxProvider:
        """Return where sandboxes come from.

        Raises:
            AuthenticationError: Nothing says where, and there is no key.
        """
        self.check_open()
        if self._provider is None:
            self._provider = provider_for(self.config, self._auth, self.transport, self._budget)
        return self._provider

    async def transport(self) -> Transport:
        """Return what carries the calls."""
        return self._transport or self._keep(await io.run_blocking(_new_transport, self.config, self._http_client))

    def connection_to(self, sandbox: Sandbox) -> AgentConnection:
        """Return the way to the agent in a sandbox."""
        return self.connection(sandbox.url, requests.session_headers(sandbox.session_id, None, sandbox.headers))

    def connection(self, url: str, headers: dict[str, str], auth: AuthManager | None = None) -> AgentConnection:
        """Return the way to an agent. See `AgentConnection`."""
        return AgentConnection(self.transport, self.config, requests.Peer(url, headers), budget=self._budget, auth=auth)

    async def close(self) -> None:
        """Close what was opened here, a provider that was given not."""
        if self._transport is not None:
            await self._transport.close()
        if self._owns_provider and self._provider is not None:
            await self._provider.close()

    def shut(self) -> None:
        """Let nobody open anything any more."""
        self._closed = True

    def check_open(self) -> None:
        """Do nothing while the client can be used.

        Raises:
            AgentClientError: It was closed.
        """
        if self._closed:
            raise AgentClientError("this client is closed; make a new one")

    def _keep(self, transport: Transport) -> Transport:
        """Keep the transport of whoever was first; one that nobody has used yet holds nothing open."""
        self.check_open()
        self._transport = self._transport or transport
        return self._transport


def _new_transport(config: ClientConfig, http_client: HttpClient | None) -> Transport:
    """Import httpx, which takes a tenth of a second: not for who only makes a client, and not on the event loop."""
    from .transport import Transport

    return Transport(config, http_client)


def _checked_http_client(client: HttpClient) -> HttpClient:
    """Return `client` if it is one of httpx, or has the same methods as one, and fits this kind of client."""
    if (
        not hasattr(client, "build_request")
        or inspect.iscoroutinefunction(getattr(client, "send", None)) != io.IS_ASYNC
    ):
        raise ConfigurationError(f"http_client must be an httpx.AsyncClient, not {type(client).__qualname__}")
    return client
