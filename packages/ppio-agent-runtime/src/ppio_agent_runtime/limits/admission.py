"""Admission: what stands between a parsed request and the agent's code, the caller's rate limit and then a slot."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from ..context import current_context
from ..invocations.worker_threads import WorkerThreads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from ..config import AgentConfig
    from ..context import RequestContext
    from ..invocations.invocation import Invocation
    from .concurrency import Concurrency
    from .rate_limit import RateLimiter, RateLimitState

_NO_ADDRESS: Final = "local"
"""What a peer without an address counts as: a Unix socket, or a call from inside."""


class AdmissionControl:
    """All limits of one service; see `invocations.invocation.Admission`.

    Attributes:
        rate_limiter: None where there is no limit.
        concurrency: None where there is no limit.
        workers: The threads for plain functions, which may have to keep slots taken.
    """

    def __init__(self, config: AgentConfig) -> None:
        self.rate_limiter: RateLimiter | None = None
        self.concurrency: Concurrency | None = None
        self.workers = WorkerThreads(config.sync_workers)
        if config.rate_limit is not None:
            from .rate_limit import RateLimiter  # few agents have one

            self.rate_limiter = RateLimiter.of(config.rate_limit)
        if config.max_concurrency is not None or config.max_concurrency_per_session is not None:
            from .concurrency import Concurrency  # likewise

            self.concurrency = Concurrency(
                config.max_concurrency, config.max_concurrency_per_session, config.when_busy, config.max_queue
            )
            hold = self.concurrency.hold  # a slot lasts as long as its thread
            self.workers.hold = lambda context: hold(context.get(current_context))

    @property
    def limits_anything(self) -> bool:
        """False where no limit is set, and nobody needs to ask here."""
        return self.rate_limiter is not None or self.concurrency is not None

    @property
    def queued(self) -> int:
        """How many invocations wait for a slot."""
        return 0 if self.concurrency is None else self.concurrency.queued

    def try_acquire(self, invocation: Invocation) -> bool:
        """See `invocations.invocation.Admission.try_acquire`."""
        limiter = self.rate_limiter
        if limiter is not None and invocation.context.parent is None:  # an agent that calls itself is no caller
            state = limiter.try_hit(self._key_of(limiter, invocation.context))
            if state is None:
                return False
            self._check(limiter, state, invocation.context)
        return self.concurrency is None or self.concurrency.try_acquire(invocation)

    async def acquire(self, invocation: Invocation) -> None:
        """See `invocations.invocation.Admission.acquire`."""
        limiter = self.rate_limiter
        if limiter is not None and limiter.needs_storage and invocation.context.parent is None:
            self._check(limiter, await limiter.hit(self._key_of(limiter, invocation.context)), invocation.context)
        if self.concurrency is not None:
            await self.concurrency.acquire(invocation)

    def release(self, invocation: Invocation) -> None:
        """See `invocations.invocation.Admission.release`."""
        if self.concurrency is not None:
            self.concurrency.release(invocation)

    def drain(self) -> None:
        """See `invocations.invocation.Admission.drain`."""
        if self.concurrency is not None:
            self.concurrency.drain()

    @asynccontextmanager
    async def lifespan(self, _app: object) -> AsyncIterator[None]:
        """Close what was opened for counting, on the loop that used it, when the service ends."""
        yield
        if self.rate_limiter is not None:
            await self.rate_limiter.close()

    def _key_of(self, limiter: RateLimiter, context: RequestContext) -> str:
        return limiter.key_of(context, _NO_ADDRESS if context.client is None else context.client[0])

    @staticmethod
    def _check(limiter: RateLimiter, state: RateLimitState, context: RequestContext) -> None:
        """Let the answer carry the limit's response fields.

        Raises:
            RateLimitedError: The request is one too many.
            UnavailableError: The storage is gone, and nobody is let in without it.
        """
        context.response_headers = limiter.response_headers(state)
        if not state.allowed:
            raise limiter.refusal(state)
