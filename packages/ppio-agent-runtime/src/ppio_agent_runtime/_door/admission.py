"""The door between a parsed request and the agent: the caller's rate limit, then a place to run."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from .._engine.context import current_context
from ..invocations.worker_threads import WorkerThreads
from .callers import counting_key
from .concurrency import Concurrency

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from .._engine.context import RequestContext
    from ..invocations.invocation import Invocation
    from .._settings.config import AgentConfig
    from .client_address import ClientAddress
    from .rate_limiter import RateLimiter
    from .sliding_window import RateLimitState


class CallerLimit:
    """The rate limit of callers.

    Attributes:
        limiter: Who counts.
        rejected: How many requests were refused.
    """

    def __init__(self, limiter: RateLimiter, client_address: ClientAddress) -> None:
        self.limiter = limiter
        self.rejected = 0
        self._client_address = client_address

    def check(self, context: RequestContext) -> bool:
        """Count one request; its answer carries the limit's response fields. False where that takes a storage.

        Raises:
            RateLimitedError: It is one too many.
        """
        state = self.limiter.hit_at_once(self._key_of(context))
        if state is None:
            return False
        self._judge(state, context)
        return True

    async def check_by_storage(self, context: RequestContext) -> None:
        """Do the same where `check` could not.

        Raises:
            RateLimitedError: It is one too many.
            UnavailableError: The storage is gone, and nobody is let in without it.
        """
        self._judge(await self.limiter.hit(self._key_of(context)), context)

    def _key_of(self, context: RequestContext) -> str:
        return counting_key(self.limiter.rate_limit.key, context, self._client_address.of(context))

    def _judge(self, state: RateLimitState, context: RequestContext) -> None:
        context.response_headers = self.limiter.response_headers(state)
        if not state.allowed:
            self.rejected += 1
            raise self.limiter.refusal(state)


class Door:
    """All that stands before the agent; see `_engine.engine.Admission`.

    Attributes:
        rate_limit: None where there is no limit.
        concurrency: None where there is no limit.
        workers: The threads for plain functions, which may have to keep places taken.
    """

    def __init__(self, config: AgentConfig) -> None:
        self.rate_limit: CallerLimit | None = None
        self.concurrency: Concurrency | None = None
        self.workers = WorkerThreads(config.sync_workers)
        if config.rate_limit is not None or config.forwarded_allow_ips:
            self.rate_limit = _caller_limit(config)
        if config.max_concurrency is not None or config.max_concurrency_per_session is not None:
            self.concurrency = Concurrency(
                config.max_concurrency, config.max_concurrency_per_session, config.when_busy, config.max_queue
            )
            hold = self.concurrency.hold  # a place lasts as long as its thread
            self.workers.hold = lambda context: hold(context.get(current_context))

    @property
    def is_open(self) -> bool:
        """Nothing is limited: nobody needs to come through here."""
        return self.rate_limit is None and self.concurrency is None

    def lets_in(self, run: Invocation) -> bool:
        """See `_engine.engine.Admission.lets_in`."""
        # An agent that calls itself is no caller.
        if self.rate_limit is not None and run.context.parent is None and not self.rate_limit.check(run.context):
            return False
        return self.concurrency is None or self.concurrency.lets_in(run)

    async def enter(self, run: Invocation) -> None:
        """See `_engine.engine.Admission.enter`."""
        limit = self.rate_limit
        if limit is not None and run.context.parent is None and limit.limiter.needs_storage:
            await limit.check_by_storage(run.context)
        if self.concurrency is not None:
            await self.concurrency.enter(run)

    def leave(self, run: Invocation) -> None:
        """See `_engine.engine.Admission.leave`."""
        if self.concurrency is not None:
            self.concurrency.leave(run)

    def drain(self) -> None:
        """See `_engine.engine.Admission.drain`."""
        if self.concurrency is not None:
            self.concurrency.drain()

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Close what was opened for counting, on the loop that used it, when the service ends."""
        yield
        if self.rate_limit is not None:
            await self.rate_limit.limiter.close()


def _caller_limit(config: AgentConfig) -> CallerLimit | None:
    """Return the limit if there is one; a wrong proxy is refused in any case."""
    from .client_address import ClientAddress  # it, ipaddress and the limiter are needed by few agents
    from .rate_limiter import RateLimiter

    client_address = ClientAddress(config.forwarded_allow_ips)
    return None if config.rate_limit is None else CallerLimit(RateLimiter.of(config.rate_limit), client_address)
