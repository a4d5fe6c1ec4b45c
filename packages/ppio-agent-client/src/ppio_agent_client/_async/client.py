"""The client: finds, makes and closes sessions, and lists what they can be made from."""

from __future__ import annotations

import copy
import threading
from collections.abc import Mapping
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Self
from weakref import WeakValueDictionary

import ppio_agent_models as models
from ppio_agent_models import AgentClientError, ConfigurationError, SessionNotFoundError

from .._config import NOT_GIVEN, ClientConfig, Credential, NotGiven, settle, with_options
from .._core import requests
from .._core.requests import OnDisconnect, Request
from .._io import _async as io
from .._sandbox import LogPage, Sandbox, SandboxSpec
from .auth import AuthManager, checked_auth
from .client_state import ClientState
from .one_call import OneCall, OneStream
from .sandbox_handle import SandboxHandle
from .session import SandboxSession
from .startup import started
from .stream import InvocationStream
from .stream_source import call_options
from .templates import TemplateManager

if TYPE_CHECKING:
    from .providers.protocol import SandboxProvider
    from .transport import HttpClient


class AgentRuntimeClient:
    """Sessions with agents, wherever their sandboxes come from.

    Making one costs nothing and opens nothing. `await client.close()`, or leaving `async with client`, closes its
    connections; sandboxes live on until they are closed or expire, so that another process can go on with them.

    Args:
        api_key: Key of the platform, or a callable that fetches one; `PPIO_API_KEY` unless given.
        api_secret: Secret that belongs to it; `PPIO_API_SECRET` unless given.
        base_url: Address of the platform; `PPIO_API_URL` unless given.
        timeout: Longest time of one whole call, in seconds; 300 unless `config` says otherwise.
        config: The other settings.
        provider: Where sandboxes come from: an object, or a name such as `"local"`; `PPIO_AGENT_PROVIDER` unless given.
            It is made when something first needs it.
        http_client: An `httpx.AsyncClient`, or one of httpx2, that carries every request with its own hooks, transports
            and proxies. Whoever made it closes it, and uses it in one event loop only. Unless given, the client has
            connections of its own for each event loop and each forked process.

    Raises:
        ConfigurationError: A setting is out of its bounds, or `http_client` is for the other kind of client.
    """

    def __init__(
        self,
        api_key: Credential | None = None,
        api_secret: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        *,
        config: ClientConfig | None = None,
        provider: SandboxProvider | str | None = None,
        http_client: HttpClient | None = None,
    ) -> None:
        requests.load_models()  # now, and not within the first call
        given = {"api_key": api_key, "api_secret": api_secret, "base_url": base_url, "timeout": timeout}
        self.config = settle(config, {**given, "provider": provider if isinstance(provider, str) else None})
        self.auth_manager = AuthManager(
            self.config.api_key,
            self.config.api_secret,
            signer=self.config.signer,
            session_secret=self.config.session_secret,
        )
        self._state = ClientState(
            self.config, self.auth_manager, None if isinstance(provider, str) else provider, http_client
        )
        self.template_manager = TemplateManager(self.auth_manager, self.config, provider=self._state.provider)
        self._turns: WeakValueDictionary[str, io.Lock] = WeakValueDictionary()
        # One handle per sandbox, so that closing it by id closes it for everybody who holds it.
        self._handles: WeakValueDictionary[str, SandboxSession] = WeakValueDictionary()
        self._made: set[str] = set()
        self._guard = threading.Lock()  # for the two dicts; never held while anything is waited for

    def __repr__(self) -> str:
        key = "set" if self.config.api_key else "not set"
        return f"<{type(self).__name__} provider={self._state.source!r} api_key {key}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def with_options(
        self, *, timeout: float | NotGiven | None = NOT_GIVEN, max_retries: int | NotGiven = NOT_GIVEN
    ) -> Self:
        """Return this client with other settings for calls: `client.with_options(timeout=5).invoke_agent(...)`.

        It costs nothing and shares everything else with this one: provider, sessions, connections, credentials, and
        being closed. Sessions that it returns keep the settings.

        Args:
            timeout: Longest time of one whole call, in seconds; None for no limit.
            max_retries: How often a call that cannot run twice is retried, and a stream read on.

        Raises:
            ConfigurationError: One is out of its bounds.
        """
        client = copy.copy(self)
        client.config = with_options(self.config, timeout, max_retries)
        return client

    async def create_session(
        self,
        template_id: str,
        timeout_seconds: float | None = None,
        config: models.SandboxConfig | None = None,
        *,
        session_id: str | None = None,
        metadata: Mapping[str, str] | None = None,
        keep_alive: bool | None = None,
    ) -> SandboxSession:
        """Return a session whose agent answers.

        A session id that lives is joined and its life left as it is; one that does not gets a new sandbox. Asked many
        times at once with one id, it makes one sandbox. If it fails or is cancelled, what it made is ended.

        Args:
            template_id: What the sandbox is made from.
            timeout_seconds: Its life, in seconds; that of `config`, which is 300 by default, unless given.
            config: Environment, limits and metadata of the sandbox.
            session_id: 1 to 256 characters of any text; made up unless given.
            metadata: Strings to find it by, on top of those in `config`.
            keep_alive: Whether its life is extended, each time half of it is over, as long as an `async with` block of
                the session is open; as the client's `ClientConfig` says unless given.

        Raises:
            AuthenticationError: No provider is named, and no key.
            TemplateNotFoundError: No such template.
            SandboxCreationError: It did not start, or the session id is bound to another template.
        """
        wanted = config or models.SandboxConfig()
        spec = SandboxSpec(
            session_id=io.key() if session_id is None else requests.checked_session_id(session_id),
            template_id=template_id,
            timeout_seconds=wanted.timeout_seconds if timeout_seconds is None else timeout_seconds,
            env_vars=dict(wanted.env_vars),
            metadata={**wanted.metadata, **(metadata or {})},
            memory_limit=wanted.memory_limit,
            cpu_limit=wanted.cpu_limit,
            auto_pause=wanted.auto_pause,
            auto_resume=wanted.auto_resume,
            private_traffic=wanted.private_traffic,
            internet_access=wanted.internet_access,
            is_new=session_id is None,
        )
        provider = self._state.provider()
        # One at a time per id: the first makes the sandbox, the others find it started.
        with self._guard:
            turn = self._turns.setdefault(spec.session_id, io.Lock())
        async with turn:
            sandbox = await started(provider, spec, self._state.connection_to)
        session = self._handle(sandbox, spec.timeout_seconds if sandbox.created else None, keep_alive)
        if sandbox.created:
            self._made.add(sandbox.sandbox_id)
        return session

    async def get_session(self, session_id: str) -> SandboxSession | None:
        """Return the session of this id if its sandbox lives, whichever process made it; change nothing about it."""
        sandbox = await self._state.provider().find(requests.checked_session_id(session_id))
        return None if sandbox is None else self._handle(sandbox)

    async def list_sessions(self) -> list[SandboxSession]:
        """Return every living session that this SDK made here, whichever process made it, oldest first."""
        return [self._handle(sandbox) for sandbox in await self._state.provider().list_sandboxes()]

    async def close_session(self, session_id: str) -> bool:
        """End the sandbox of a session, whichever process made it.

        Returns:
            Whether one lived.
        """
        sandbox = await self._state.provider().find(requests.checked_session_id(session_id))
        return False if sandbox is None else await self._end(sandbox.sandbox_id)

    async def close_all_sessions(self) -> None:
        """End every sandbox that this client made; those that it joined live on.

        Raises:
            AgentClientError: Some could not be ended; the others are.
        """
        outcomes = await io.gather([partial(self._end, sandbox_id) for sandbox_id in list(self._made)])
        failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        if failures:
            raise AgentClientError(
                f"{len(failures)} of {len(outcomes)} sandboxes could not be ended, the first because: {failures[0]}"
            ) from failures[0]

    async def get_logs(self, session_id: str, cursor: str | None = None) -> LogPage:
        """Return what the agent of a session has written: everything, or what came after the page with this cursor.

        Raises:
            SessionNotFoundError: Nothing is known of such a session (any more).
            ConfigurationError: The provider keeps no logs.
        """
        logs = getattr(self._state.provider(), "logs", None)
        if logs is None:
            raise ConfigurationError(f"the provider {self.config.provider!r} has no logs of agents")
        page: LogPage | None = await logs(requests.checked_session_id(session_id), cursor)
        if page is None:
            raise SessionNotFoundError(f"there is no session {session_id!r} with a log")
        return page

    async def list_templates(self, refresh: bool = False) -> list[models.AgentTemplate]:
        """Return every template that sessions can be created from. See `TemplateManager.list_templates`."""
        return await self.template_manager.list_templates(refresh)

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template. See `TemplateManager.get_template`."""
        return await self.template_manager.get_template(template_id)

    async def invoke_agent(
        self,
        template_id: str,
        request: Request,
        create_session: bool = True,
        session_id: str | None = None,
        *,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> models.InvocationResponse:
        """Ask an agent once.

        Args:
            template_id: What the agent is made from.
            request: As for `SandboxSession.invoke`.
            create_session: Whether a session may be made for it.
            session_id: The session to ask in; it is joined or made, and lives on. Without one, a new sandbox is made
                and ended before this returns, on errors too.
            idempotency_key: As for `SandboxSession.invoke`; it counts within a session.
            on_disconnect: As for `SandboxSession.invoke`.

        Raises:
            SessionNotFoundError: `create_session` is False and no such session lives.
            AgentClientError: As for `create_session` and `SandboxSession.invoke`.
        """
        call = OneCall(self, template_id, create_session=create_session, session_id=session_id)
        try:
            session = await call.begin()
            return await session.invoke(request, idempotency_key=idempotency_key, on_disconnect=on_disconnect)
        finally:
            await call.end()

    def stream_agent(
        self,
        template_id: str,
        request: Request,
        create_session: bool = True,
        session_id: str | None = None,
        *,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
    ) -> InvocationStream:
        """Stream from an agent once: use it with `async with`, or iterate over it. See `invoke_agent`.

        A sandbox that was made for it is ended with the stream, however that ends.
        """
        call = OneCall(self, template_id, create_session=create_session, session_id=session_id)
        return InvocationStream(OneStream(call, request, call_options(idempotency_key, on_disconnect)))

    def attach(self, url: str, token: str | None = None, *, auth: AuthManager | None = None) -> SandboxSession:
        """Return a session with an agent that runs already: a development server, a cluster, another cloud.

        Nothing is sent yet, and no key or provider is needed. The session has no sandbox to refresh or pause.

        Args:
            url: Its address, such as `http://127.0.0.1:8080`.
            token: Sent as bearer token, if it wants one.
            auth: Shows who calls, in place of a token: as bearer token, fetched anew where it ends, or as a signature
                for an agent with `hmac_keys`.

        Raises:
            ConfigurationError: The address or the token cannot be used, or both a token and `auth` are given.
        """
        if token is not None and auth is not None:
            raise ConfigurationError("attach() takes a token or auth, not both")
        session_id = io.key()
        headers = requests.session_headers(session_id, requests.checked_token(token), {})
        where = requests.checked_url(url)
        shown = None if auth is None else checked_auth(auth)
        return SandboxSession(session_id, self._state.connection(where, headers, shown).with_config(self.config))

    async def close(self) -> None:
        """Close every connection. Sandboxes live on; the client cannot be used again."""
        self._state.shut()
        try:
            for session in [reference() for reference in self._handles.valuerefs()]:
                if session is not None:
                    await session.end_keeping()
        finally:
            await self._state.close()

    aclose = close  # async-only: the name that contextlib.aclosing knows

    async def _end(self, sandbox_id: str) -> bool:
        session = self._handles.get(sandbox_id)
        ended = await (self._state.provider().kill(sandbox_id) if session is None else session.close())
        self._made.discard(sandbox_id)
        return ended

    def _handle(
        self, sandbox: Sandbox, life_seconds: float | None = None, keep_alive: bool | None = None
    ) -> SandboxSession:
        keep_alive = self.config.keep_alive if keep_alive is None else keep_alive
        with self._guard:
            session = self._handles.get(sandbox.sandbox_id)
            if session is not None and not session.is_closed:
                session.know(sandbox, keep_alive=keep_alive)
            else:
                connection = self._state.connection_to(sandbox)
                held = SandboxHandle(
                    self._state.provider(), sandbox, connection, life_seconds, self._made.discard, keep_alive=keep_alive
                )
                session = self._handles[sandbox.sandbox_id] = SandboxSession(sandbox.session_id, connection, held)
        return session if self.config is self._state.config else session.with_config(self.config)
