"""The fake agent: a script, and clients whose requests reach it without a network."""

from __future__ import annotations

import inspect
import itertools
import logging
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError, PPIOAgentRuntimeError

from .._async.client import AgentRuntimeClient
from .._config import ClientConfig
from .._sync.client import SyncAgentRuntimeClient
from .provider import FakeSandboxProvider, SyncFakeSandboxProvider
from .script import FakeInvocation, Item, RecordedRequest, Value, checked_item, checked_value

if TYPE_CHECKING:
    import httpx

_logger = logging.getLogger("ppio_agent_client")

URL: Final = "http://fake-agent.invalid"
"""Its URL; no request of its clients leaves the process."""


class FakeAgent:
    """An agent whose responses a test decides. Thread-safe.

    Scripted responses are used in their order, and the last one is repeated for all further requests.

    Args:
        handler: Instead of a script: a plain function that gets each `RecordedRequest` and returns a value, returns or
            yields what `will_stream` takes, or raises. What it raises that is none of the SDK's errors is logged.

    Attributes:
        requests: The requests that it got, oldest first.
        url: For `client.attach(agent.url)`.
    """

    def __init__(self, handler: Callable[[RecordedRequest], Any] | None = None) -> None:
        if inspect.iscoroutinefunction(handler):
            raise ConfigurationError(
                "the handler of a fake agent is called by blocking clients too: use def, not async def"
            )
        self.requests: list[RecordedRequest] = []
        self.url = URL
        self._handler = handler
        self._script: deque[tuple[Item, ...]] = deque()
        self._invocations: dict[str, FakeInvocation] = {}
        self._keys: dict[tuple[str | None, str], FakeInvocation] = {}
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()

    def will_return(self, *results: Any) -> None:
        """Answer the next requests with these values, one for each.

        Raises:
            ConfigurationError: One has no JSON form.
        """
        self._script.extend((Value(checked_value(result)),) for result in results)

    def will_stream(self, *items: Item) -> None:
        """Respond to the next request with chunks, typed events, `Progress`, `Delay`, `Cut` and exceptions.

        Typed events are those of `ppio_agent_models` (AG-UI 1.0). With one of them the answer is a whole run, as the
        runtime makes it: starts, ends and ids that are missing are filled in, text becomes messages, and callers of
        `session.stream` see only its text.

        Callers that ask for a value get the chunks as one: strings joined, anything else as a list.

        Raises:
            ConfigurationError: One is a class, or has no JSON form.
        """
        self._script.append(tuple(map(checked_item, items)))

    def will_raise(self, error: Exception) -> None:
        """Let the next request fail. An `AgentError` is returned as it is, any other exception as a `HandlerError`.

        Raises:
            ConfigurationError: It is no exception.
        """
        if not isinstance(error, Exception):
            raise ConfigurationError(f"will_raise() takes an exception such as AgentError('no'), not {error!r}")
        self._script.append((error,))

    def client(self, config: ClientConfig | None = None) -> AgentRuntimeClient:
        """Return a client whose sessions, templates and attached agents are this agent."""
        import httpx  # Only when it is used.

        return AgentRuntimeClient(
            config=config or _config(),
            provider=FakeSandboxProvider(self.url),
            http_client=httpx.AsyncClient(transport=self.transport()),
        )

    def sync_client(self, config: ClientConfig | None = None) -> SyncAgentRuntimeClient:
        """Return a blocking client; see `client`."""
        import httpx

        return SyncAgentRuntimeClient(
            config=config or _config(),
            provider=SyncFakeSandboxProvider(self.url),
            http_client=httpx.Client(transport=self.transport()),
        )

    def transport(self) -> httpx.MockTransport:
        """Return an httpx transport to this agent, for an httpx client of your own."""
        from .transport import FakeTransport

        return FakeTransport(self)

    def _begin(self, request: RecordedRequest) -> tuple[FakeInvocation, bool]:
        """Return the invocation of a request, and whether an earlier one with the same key started it."""
        with self._lock:
            key = None if request.idempotency_key is None else (request.session_id, request.idempotency_key)
            if key is not None and key in self._keys:
                return self._keys[key], True
            self.requests.append(request)
            invocation_id = f"fake-{next(self._numbers)}"
            metadata = {"request_id": invocation_id, "session_id": request.session_id}
            invocation = FakeInvocation(invocation_id, self._next(request), metadata)
            self._invocations[invocation_id] = invocation
            if key is not None:
                self._keys[key] = invocation
            return invocation, False

    def _find(self, invocation_id: str) -> FakeInvocation | None:
        """Return an earlier invocation."""
        return self._invocations.get(invocation_id)

    def _next(self, request: RecordedRequest) -> tuple[Item, ...]:
        if self._handler is not None:
            try:
                made = self._handler(request)
                is_several = isinstance(made, list) or inspect.isgenerator(made)
                return tuple(map(checked_item, made)) if is_several else (Value(checked_value(made)),)
            except Exception as error:
                if not isinstance(error, PPIOAgentRuntimeError):  # whose message callers are not told
                    _logger.warning("the handler of the fake agent failed", exc_info=error)
                return (error,)
        if not self._script:
            raise ConfigurationError(
                "the fake agent has no scripted response: call will_return, will_stream or will_raise first"
            )
        return self._script.popleft() if len(self._script) > 1 else self._script[0]


def _config() -> ClientConfig:
    """Return settings without pauses between retries, and without this machine's key."""
    return ClientConfig(api_key="fake", retry_delay=0.001)
