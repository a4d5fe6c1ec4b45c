"""The client: finds, creates and closes sessions, and lists the templates for them."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar, Unpack, overload

import ppio_agent_models as models
from ppio_agent_models import ConfigurationError, SessionNotFoundError

from .._core import requests
from .._core.lifecycle import sandbox_spec
from .._core.platform.urls import platform_urls
from .._core.request_body import Request
from .._core.requests import CallArguments, OnDisconnect
from .._headers import checked_headers, checked_session_id, checked_token, checked_user_id, session_headers
from .._io import _async as io
from .._sandbox import LogPage, Sandbox
from .._settings import NOT_GIVEN, Credential, NotGiven
from .auth import AuthManager, auth_of, checked_auth
from .client_state import ClientState
from .one_call import OneCall, OneStream
from .session import SandboxSession
from .startup import started
from .stream import InvocationStream
from .stream_source import call_options
from .templates import TemplateManager

if TYPE_CHECKING:
    from .._config import ClientConfig
    from .providers.protocol import SandboxProvider
    from .transport import HttpClient

T = TypeVar("T")


class AgentRuntimeClient(io.OneKind):
    """A client for agents: creates sessions in sandboxes, from any provider, and calls their agents.

    Creating one opens no connection. `await client.close()`, or leaving `async with client`, closes its
    connections; sandboxes keep running until they are closed or expire, so that another process can continue them.

    Args:
        api_key: Key of the platform, or a callable that fetches one; `PPIO_API_KEY` unless given.
        api_secret: Secret that belongs to it; `PPIO_API_SECRET` unless given.
        base_url: URL of the platform; `PPIO_API_URL` unless given.
        timeout: Longest time of one whole call, in seconds; 300 unless `config` says otherwise.
        config: The other settings.
        provider: Where sandboxes come from: an object, or a name such as `"local"`; `PPIO_AGENT_PROVIDER` unless given.
            It is created when it is first needed.
        http_client: An `httpx.AsyncClient`, or one of httpx2, that sends every request with its own hooks, transports
            and proxies. You close it yourself, and can use it in one event loop only. Unless given, the client has its
            own connections for each event loop and each forked process.

    Raises:
        ConfigurationError: A setting is out of bounds, or `http_client` is for the other kind of client.
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
        from .._config import settle  # here, because it imports pydantic

        requests.load_models()  # now, so that the first call doesn't wait for it
        given = {"api_key": api_key, "api_secret": api_secret, "base_url": base_url, "timeout": timeout}
        given["provider"] = provider if isinstance(provider, str) else None
        self.config: ClientConfig = settle(config, given)
        self.auth_manager: AuthManager = auth_of(self.config)
        self._state = ClientState(
            self.config, self.auth_manager, None if isinstance(provider, str) else provider, http_client
        )
        self.template_manager: TemplateManager = TemplateManager(
            self.auth_manager, self.config, provider=self._state.provider
        )

    def __repr__(self) -> str:
        key = "set" if self.config.api_key else "not set"
        return f"<{type(self).__name__} provider={self._state.source!r} api_key {key}>"

    @property
    def base_url(self) -> str:
        """The URL of the platform's API."""
        return platform_urls(self.config).api

    @property
    def timeout(self) -> float | None:
        """Longest time of one whole call, in seconds; None for no limit."""
        return self.config.timeout

    async def __aenter__(self) -> Self:
        io.place()  # raises a helpful error under trio
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
            max_retries: How often a call that can't run twice is retried, and a stream resumed.

        Raises:
            ConfigurationError: A value is out of bounds.
        """
        from .._config import with_options

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
        """Return a session whose agent is ready.

        The ID of a running session joins that session and doesn't change its time to live; any other ID gets a new
        sandbox. Many calls at once with one ID make one sandbox. If a call fails or is cancelled, its sandbox is ended.

        Args:
            template_id: The template of the sandbox.
            timeout_seconds: Its time to live, in seconds; that of `config`, which is 300 by default, unless given.
            config: Environment, limits and metadata of the sandbox.
            session_id: 1 to 256 characters of any text; generated unless given.
            metadata: Strings to find it by, in addition to those in `config`.
            keep_alive: Whether its time to live is extended whenever half of it is over, while an `async with` block of
                the session is open; as the client's `ClientConfig` says unless given.

        Raises:
            AuthenticationError: Neither a provider nor a key is given.
            TemplateNotFoundError: No such template.
            SandboxCreationError: It didn't start, or the session ID belongs to another template.
        """
        named = io.key() if session_id is None else checked_session_id(session_id)
        spec = sandbox_spec(
            named, template_id, config, timeout_seconds=timeout_seconds, metadata=metadata, is_new=session_id is None
        )
        provider = self._state.provider()
        async with self._state.turn(named):
            sandbox = await started(provider, spec, self._state.connection_to)
        return self._session(sandbox, spec.timeout_seconds if sandbox.created else None, keep_alive)

    async def get_session(self, session_id: str) -> SandboxSession | None:
        """Return the session with this ID, whichever process created it, without changing it; None if there is none."""
        sandbox = await self._state.provider().find(checked_session_id(session_id))
        return None if sandbox is None else self._session(sandbox)

    async def list_sessions(self) -> list[SandboxSession]:
        """Return all running sessions that this SDK created here, in any process, oldest first."""
        return [self._session(sandbox) for sandbox in await self._state.provider().list_sandboxes()]

    async def close_session(self, session_id: str) -> bool:
        """End the sandbox of a session, whichever process created it.

        Returns:
            Whether one was running.
        """
        sandbox = await self._state.provider().find(checked_session_id(session_id))
        return False if sandbox is None else await self._state.end(sandbox.sandbox_id)

    async def close_all_sessions(self) -> None:
        """End all sandboxes that this client created; those that it joined keep running.

        Raises:
            AgentClientError: Some could not be ended; the others have ended.
        """
        await self._state.end_all()

    async def get_logs(self, session_id: str, cursor: str | None = None) -> LogPage:
        """Return the log of a session's agent: all of it, or what follows the page with this cursor.

        Raises:
            SessionNotFoundError: There is no such session, or its log is no longer kept.
            ConfigurationError: The provider keeps no logs.
        """
        logs = getattr(self._state.provider(), "logs", None)
        if logs is None:
            raise ConfigurationError(f"the provider {self.config.provider!r} has no logs of agents")
        page: LogPage | None = await logs(checked_session_id(session_id), cursor)
        if page is None:
            raise SessionNotFoundError(f"there is no session {session_id!r} with a log")
        return page

    async def list_templates(self, refresh: bool = False) -> list[models.AgentTemplate]:
        """Return all templates that sessions can be created from. See `TemplateManager.list_templates`."""
        return await self.template_manager.list_templates(refresh)

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template. See `TemplateManager.get_template`."""
        return await self.template_manager.get_template(template_id)

    @overload
    async def invoke_agent(
        self,
        template_id: str,
        request: Request,
        create_session: bool = True,
        session_id: str | None = None,
        *,
        result_type: None = None,
        **options: Unpack[CallArguments],
    ) -> models.InvocationResponse: ...
    @overload
    async def invoke_agent(
        self,
        template_id: str,
        request: Request,
        create_session: bool = True,
        session_id: str | None = None,
        *,
        result_type: type[T],
        **options: Unpack[CallArguments],
    ) -> models.InvocationResponse[T]: ...
    async def invoke_agent(
        self,
        template_id: str,
        request: Request,
        create_session: bool = True,
        session_id: str | None = None,
        *,
        result_type: type[Any] | None = None,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
        headers: Mapping[str, str] | None = None,
        user_id: str | None = None,
    ) -> models.InvocationResponse:
        """Call an agent once, and return its result.

        Args:
            template_id: The template of the agent.
            request: As for `SandboxSession.invoke`.
            create_session: Whether a session may be created for it.
            session_id: The session to call; the request's unless given. It is joined or started, and keeps running.
                Without one, a new sandbox is created, and ended before this returns, on errors too.
            result_type: As for `SandboxSession.invoke`.
            idempotency_key: As for `SandboxSession.invoke`; it counts within a session.
            on_disconnect: As for `SandboxSession.invoke`.
            headers: As for `SandboxSession.invoke`.
            user_id: As for `SandboxSession.invoke`.

        Raises:
            SessionNotFoundError: `create_session` is False and no such session is running.
            ConfigurationError: The argument and the request name two sessions.
            AgentClientError: As for `create_session` and `SandboxSession.invoke`.
        """
        call = OneCall(self, template_id, request, create_session=create_session, session_id=session_id)
        try:
            session = await call.begin()
            response: models.InvocationResponse = await session.invoke(
                request,
                result_type=result_type,
                idempotency_key=idempotency_key,
                on_disconnect=on_disconnect,
                headers=headers,
                user_id=user_id,
            )
            return response
        finally:
            await call.end()

    @overload
    def stream_agent(
        self,
        template_id: str,
        request: Request,
        create_session: bool = True,
        session_id: str | None = None,
        *,
        chunk_type: None = None,
        **options: Unpack[CallArguments],
    ) -> InvocationStream: ...
    @overload
    def stream_agent(
        self,
        template_id: str,
        request: Request,
        create_session: bool = True,
        session_id: str | None = None,
        *,
        chunk_type: type[T],
        **options: Unpack[CallArguments],
    ) -> InvocationStream[T]: ...
    def stream_agent(
        self,
        template_id: str,
        request: Request,
        create_session: bool = True,
        session_id: str | None = None,
        *,
        chunk_type: type[Any] | None = None,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
        headers: Mapping[str, str] | None = None,
        user_id: str | None = None,
    ) -> InvocationStream:
        """Stream from an agent once: use it with `async with`, or iterate over it. See `invoke_agent`.

        A sandbox that was created for it ends with the stream, however that ends.
        """
        call = OneCall(self, template_id, request, create_session=create_session, session_id=session_id)
        options = call_options(request, idempotency_key, on_disconnect, headers, user_id)
        return InvocationStream(OneStream(call, request, options), chunk_type)

    def attach(
        self,
        url: str,
        token: str | None = None,
        *,
        auth: AuthManager | None = None,
        session_id: str | None = None,
        user_id: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> SandboxSession:
        """Return a session with an agent that is already running: a development server, a cluster, another cloud.

        Nothing is sent yet, and no key or provider is needed. The session has no sandbox to refresh or pause.

        Args:
            url: Its URL, such as `http://127.0.0.1:8080`.
            token: Sent as bearer token, if the agent requires one.
            auth: Authenticates the caller instead of a token: by a bearer token that is fetched again when it expires,
                or by a signature for an agent with `hmac_keys`.
            session_id: The ID of the conversation: 1 to 256 characters of any text; generated once unless given. An
                idempotency key applies within it.
            user_id: The user of this session, for the agent's `context.user_id`.
            headers: Headers of every request of the session, in addition to those of the SDK.

        Raises:
            ConfigurationError: The URL, the token, an ID or a header can't be used, or both a token and `auth`
                are given.
        """
        if token is not None and auth is not None:
            raise ConfigurationError("attach() takes a token or auth, not both")
        named = io.key() if session_id is None else checked_session_id(session_id)
        sent = session_headers(
            named,
            self.config.headers,
            checked_headers(headers, allowed="Authorization" if token is None and auth is None else ""),
            token=checked_token(token),
            user_id=checked_user_id(user_id),
        )
        where = requests.checked_url(url)
        shown = None if auth is None else checked_auth(auth)
        connection = self._state.connection(where, sent, shown).with_config(self.config)
        return SandboxSession(named, connection, client=self)

    async def close(self) -> None:
        """Close all connections. Sandboxes keep running; the client can't be used again."""
        await io.wait_for_left()
        await self._state.close()

    aclose = close  # async-only: the name that contextlib.aclosing knows

    def _session(
        self, sandbox: Sandbox, life_seconds: float | None = None, keep_alive: bool | None = None
    ) -> SandboxSession:
        keep_alive = self.config.keep_alive if keep_alive is None else keep_alive
        session = self._state.session(self, sandbox, life_seconds, keep_alive=keep_alive)
        return session if self.config is self._state.config else session._with_config(self.config)
