"""The calls to one agent: the methods of a session that don't depend on where the agent runs."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Self, TypeVar, Unpack, overload

import ppio_agent_models as models
from ppio_agent_models import ConfigurationError, NetworkError, StreamInterruptedError

from .._core import requests
from .._core.limits import call_limits, total_seconds
from .._core.request_body import Request, requested_timeout
from .._core.requests import CallArguments, CallOptions, OnDisconnect
from .._core.responses import invocation_id_of, resource_of, response_of, was_replayed
from .._core.typed_results import typed
from .._io import _async as io
from .._settings import NOT_GIVEN, NotGiven
from .agent_connection import AgentConnection
from .invocation_handle import InvocationHandle
from .stream import AgentEventStream, InvocationStream
from .stream_source import CallContext, InvocationSource, call_options

if TYPE_CHECKING:
    from .._config import ClientConfig

T = TypeVar("T")


class AgentCalls(io.OneKind):
    """The calls of one session to its agent.

    Attributes:
        session_id: The ID of the conversation, which the agent gets too.
    """

    def __init__(self, session_id: str, connection: AgentConnection) -> None:
        self.session_id = session_id
        self._connection = connection
        self._origin: Self | None = None

    async def _ready(self) -> None:
        """Raise an error if the agent cannot be called."""

    async def _explain(self, error: NetworkError | StreamInterruptedError) -> None:
        """Raise the real cause of a lost call, if it is known."""

    @property
    def host_url(self) -> str:
        """The URL of the agent, without a trailing slash."""
        return self._connection.peer.url

    def with_options(
        self, *, timeout: float | NotGiven | None = NOT_GIVEN, max_retries: int | NotGiven = NOT_GIVEN
    ) -> Self:
        """Return this session with other settings for its calls: `session.with_options(timeout=5).invoke(...)`.

        It costs nothing and shares everything else with this one: sandbox, connections, and being closed.

        Args:
            timeout: Longest time of one whole call, in seconds; None for no limit.
            max_retries: How often a call that can't run twice is retried, and a stream resumed.

        Raises:
            ConfigurationError: A value is out of bounds.
        """
        from .._config import with_options

        return self._with_config(with_options(self._connection.config, timeout, max_retries))

    def _with_config(self, config: ClientConfig) -> Self:
        """Return this session with the settings of a view of its client; for the client around it."""
        session = copy.copy(self)
        session._connection = self._connection.with_config(config)
        session._origin = self._origin or self  # keeps it alive, as the client only has a weak reference
        return session

    @overload
    async def invoke(
        self,
        request: Request,
        stream: Literal[False] = False,
        *,
        result_type: None = None,
        **options: Unpack[CallArguments],
    ) -> models.InvocationResponse: ...
    @overload
    async def invoke(
        self,
        request: Request,
        stream: Literal[False] = False,
        *,
        result_type: type[T],
        **options: Unpack[CallArguments],
    ) -> models.InvocationResponse[T]: ...
    @overload
    async def invoke(
        self, request: Request, stream: Literal[True], **options: Unpack[CallArguments]
    ) -> InvocationStream: ...
    @overload
    async def invoke(
        self, request: Request, stream: bool, **options: Unpack[CallArguments]
    ) -> models.InvocationResponse | InvocationStream: ...
    async def invoke(
        self,
        request: Request,
        stream: bool = False,
        *,
        result_type: type[Any] | None = None,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
        headers: Mapping[str, str] | None = None,
        user_id: str | None = None,
    ) -> models.InvocationResponse | InvocationStream:
        """Call the agent and return its result.

        Args:
            request: An `InvocationRequest`, a string that is sent as `prompt`, or anything that pydantic serializes,
                which is sent unchanged: a dict, a model, a dataclass, a list, a number, None. A `session_id` and a
                `user_id` in it apply to this call.
            stream: Return an iterator over decoded chunks instead, once the response has begun.
            result_type: The type of the result: a pydantic model, a dataclass, `list[int]`, ...
            idempotency_key: Calls of this session with one key and one request run the agent once: 1 to 255 characters
                of printable ASCII. Unless given, each call has a new key, for its retries.
            on_disconnect: What happens to the invocation if the connection is lost: `"cancel"` or `"continue"`.
                Unless given, the agent waits for its `resume_window_seconds` for the client to come back.
            headers: Headers of every request for this call, in addition to those of the session and the SDK.
            user_id: The user, for the agent's `context.user_id`.

        Returns:
            The envelope, always with status `"success"`.

        Raises:
            InvocationError: The agent returned no result; the class says why.
            NetworkError: No complete response arrived; the class says which limit was exceeded, if one was.
            SandboxGoneError: The sandbox has ended.
            SandboxPausedError: The sandbox is paused.
            SerializationError: The request can't become JSON.
            ResultValidationError: The result isn't of `result_type`; the error has it as `result`.
            ConfigurationError: A header is set by the SDK itself, or can't be sent.
        """
        if stream and result_type is not None:
            raise ConfigurationError("a stream has chunks: use stream(request, chunk_type=...)")
        options = call_options(request, idempotency_key, on_disconnect, headers, user_id)
        context = self._context(options)
        if stream:
            chunks: InvocationStream = InvocationStream(InvocationSource(context, request, options))
            await chunks.open()
            return chunks
        config = self._connection.config
        total = total_seconds(requested_timeout(request), config.timeout)
        answer = await context.ask(
            lambda: requests.invoke_call(context.peer, request, options, stream=False),
            call_limits(config, total, io.now()),
            "invoke_agent",
        )
        response = response_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        response._known_as(invocation_id_of(answer.headers), replayed=was_replayed(answer.headers))
        return typed(response, result_type)

    @overload
    def stream(
        self,
        request: Request,
        *,
        chunk_type: None = None,
        last_event_id: str | None = None,
        **options: Unpack[CallArguments],
    ) -> InvocationStream: ...
    @overload
    def stream(
        self,
        request: Request,
        *,
        chunk_type: type[T],
        last_event_id: str | None = None,
        **options: Unpack[CallArguments],
    ) -> InvocationStream[T]: ...
    def stream(
        self,
        request: Request,
        *,
        chunk_type: type[Any] | None = None,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
        headers: Mapping[str, str] | None = None,
        user_id: str | None = None,
        last_event_id: str | None = None,
    ) -> InvocationStream:
        """Return a stream of the chunks that the agent yields: use it with `async with`, or iterate over it.

        Args:
            request: As for `invoke`. Its `timeout`, if it has one, limits the whole stream.
            chunk_type: The type of each chunk, like `result_type` for `invoke`; one that doesn't fit raises a
                `ResultValidationError`, and the next step continues after it.
            idempotency_key: As for `invoke`.
            on_disconnect: As for `invoke`. Leaving the stream before its end cancels the invocation unless this is
                `"continue"`; with `"cancel"`, a cut stream cancels it too and isn't resumed.
            headers: As for `invoke`.
            user_id: As for `invoke`.
            last_event_id: The ID of an event that `sse` or `ndjson` has sent, if their reader comes back: the request
                isn't sent, and the stream continues after that event. None or empty for a new invocation.

        Raises:
            ConfigurationError: `last_event_id` is not an ID of `sse` or `ndjson`.
        """
        options = call_options(request, idempotency_key, on_disconnect, headers, user_id)
        source = InvocationSource(self._context(options), request, options, last_event_id)
        return InvocationStream(source, chunk_type)

    def events(
        self,
        request: Request,
        *,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
        headers: Mapping[str, str] | None = None,
        user_id: str | None = None,
        last_event_id: str | None = None,
    ) -> AgentEventStream:
        """Return a stream of typed events: text, tool calls, reasoning, state, and how the run ended.

        Args:
            request: As for `stream`. Its field `resume` answers the interrupts of an earlier run, with a list of
                `{"interrupt_id": …, "status": "resolved", "payload": …}`.
            idempotency_key: As for `invoke`.
            on_disconnect: As for `stream`.
            headers: As for `invoke`.
            user_id: As for `invoke`.
            last_event_id: As for `stream`. If an agent has no typed events, they begin with `RUN_STARTED` again.

        Raises:
            ConfigurationError: `last_event_id` is not an ID of `sse` or `ndjson`.
        """
        options = call_options(request, idempotency_key, on_disconnect, headers, user_id)
        return AgentEventStream(InvocationSource(self._context(options), request, options, last_event_id, typed=True))

    async def submit(
        self,
        request: Request,
        *,
        timeout: float | None = None,
        idempotency_key: str | None = None,
        on_disconnect: OnDisconnect | None = None,
        headers: Mapping[str, str] | None = None,
        user_id: str | None = None,
    ) -> InvocationHandle:
        """Start an invocation in the background and return its handle at once.

        Args:
            request: As for `invoke`.
            timeout: Longest time of the work, in seconds; that of the request unless given. The agent's
                `background_timeout` applies in any case.
            idempotency_key: As for `invoke`. For two processes to share one run, they must use the same session too.
            on_disconnect: As for `invoke`, if readers of its events disconnect; `"continue"` unless given.
            headers: As for `invoke`; the requests of the handle have them too.
            user_id: As for `invoke`.

        Raises:
            InvocationError: The agent refused, or can't work in the background.
            NetworkError: No response arrived.
        """
        options = call_options(request, idempotency_key, on_disconnect, headers, user_id)
        context = self._context(options)
        config = self._connection.config
        answer = await context.ask(
            lambda: requests.submit_call(context.peer, request, options, timeout),
            call_limits(config, config.timeout, io.now()),
            "invoke_agent",
        )
        seen = resource_of(answer.status, answer.headers, await answer.read(), unix_now=io.unix_now())
        return InvocationHandle(context, seen.invocation_id, replayed=was_replayed(answer.headers))

    def invocation(self, invocation_id: str) -> InvocationHandle:
        """Return a handle of an invocation of this session, whichever process started it. Nothing is sent yet."""
        return InvocationHandle(self._context(), requests.checked_invocation_id(invocation_id))

    async def request_headers(
        self, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes = b""
    ) -> dict[str, str]:
        """Return the headers, with credentials, for a request to the agent that you send yourself.

        Use it where this SDK has no method, such as for a route of the agent's own: send it to `host_url` and `path`.

        Args:
            method: In upper case.
            path: With a leading slash, and the query if there is one.
            headers: Further headers of the request; these win over those of the session.
            body: The whole body; a signature covers it.

        Raises:
            AuthenticationError: The credential could not be fetched.
        """
        return await self._connection.request_headers(method, path, headers or {}, body)

    def _context(self, options: CallOptions | None = None) -> CallContext:
        """Return what a call with these options needs of this session; for the modules behind it."""
        headers = {} if options is None else options.headers
        session_id = self.session_id if options is None else options.session_id or self.session_id
        return CallContext(session_id, self._connection, self._ready, self._explain, headers)
