"""Rate limits and concurrency limits, checked between a parsed request and the agent's code."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from ..context import current_context
from .concurrency import Concurrency
from .rate_limit import RateLimitCounter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from ..config import AgentConfig
    from ..context import RequestContext
    from ..invocations.invocation import Invocation
    from ..invocations.worker_threads import WorkerThreads
    from .rate_limit import RateLimitState

_NO_ADDRESS: Final = "local"
"""The address for peers that have none: a Unix socket, or a call in process."""


class AdmissionControl:
    """All limits of one service: first the rate limit, then concurrency; see `invocations.invocation.Admission`.

    Args:
        config: The limits.
        workers: The threads for plain functions, which hold slots too.
    """

    def __init__(self, config: AgentConfig, workers: WorkerThreads) -> None:
        self._rate_limiter = None if config.rate_limit is None else RateLimitCounter(config.rate_limit)
        self._concurrency = Concurrency(
            config.max_concurrency, config.max_concurrency_per_session, config.when_busy, config.max_queue
        )
        self.release: Callable[[Invocation], None] = self._concurrency.release
        self.drain: Callable[[], None] = self._concurrency.drain
        workers.hold = lambda context: self._concurrency.hold(context.get(current_context))

    @property
    def queued(self) -> int:
        """How many invocations wait for a slot."""
        return self._concurrency.queued

    def try_acquire(self, invocation: Invocation) -> bool:
        """See `invocations.invocation.Admission.try_acquire`."""
        limiter, context = self._rate_limiter, invocation.context
        if limiter is not None and context.parent is None:  # an agent's call of itself is not counted
            state = limiter.try_hit(_key_of(limiter, context))
            if state is None:
                return False
            _check(limiter, state, context)
        return self._concurrency.try_acquire(invocation)

    async def acquire(self, invocation: Invocation) -> None:
        """See `invocations.invocation.Admission.acquire`."""
        limiter, context = self._rate_limiter, invocation.context
        if limiter is not None and limiter.needs_storage and context.parent is None:
            _check(limiter, await limiter.hit(_key_of(limiter, context)), context)
        await self._concurrency.acquire(invocation)

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Close the rate limit's storage at shutdown, on the loop that used it."""
        yield
        if self._rate_limiter is not None:
            await self._rate_limiter.close()


def _key_of(limiter: RateLimitCounter, context: RequestContext) -> str:
    return limiter.key_of(context, _NO_ADDRESS if context.client is None else context.client[0])


def _check(limiter: RateLimitCounter, state: RateLimitState, context: RequestContext) -> None:
    """Add the rate limit's fields to the response, and raise `refusal` if the limit is exceeded."""
    context.response_headers = limiter.response_headers(state)
    if not state.allowed:
        raise limiter.refusal(state)
