"""The way to one agent: its address, its headers, and calls that are repeated where they cannot have run."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING

from ppio_agent_models import NetworkError, PingResponse, StreamInterruptedError

from .._config import ClientConfig
from .._io import _async as io
from .._rules import requests
from .._rules.limits import Limits, call_limits
from .._rules.requests import Call
from .._rules.responses import ping_of, retry_after_of
from .._rules.retry import REFUSED_STATUSES, RetryPolicy

if TYPE_CHECKING:
    from ._transport import Answer, Transport

logger = logging.getLogger("ppio_agent_client")

Explain = Callable[[NetworkError | StreamInterruptedError], Awaitable[None]]
"""Raises what is really the matter with a lost call, where that is known."""


class AgentLink:
    """Everything that a call to one agent needs.

    Args:
        transport: Returns the client's connections, which are opened when first needed.
        config: The client's settings.
        url: Where the agent listens, without a trailing slash.
        headers: What every request to it carries.
    """

    def __init__(
        self, transport: Callable[[], Awaitable[Transport]], config: ClientConfig, url: str, headers: Mapping[str, str]
    ) -> None:
        self.config = config
        self.url = url
        self.headers = dict(headers)
        self._transport = transport
        self._used: Transport | None = None
        self._policy = RetryPolicy(config.max_retries, config.retry_delay)

    async def open(self, call: Call, limits: Limits, explain: Explain) -> Answer:
        """Return the answer of the first attempt that was not refused, or the refusal of the last.

        Raises:
            NetworkError: No answer, and no further attempt may be made.
        """
        attempt = 0
        while True:
            outcome = await self._attempt(call, limits)
            pause = self._pause(outcome, attempt, limits)
            if isinstance(outcome, NetworkError):
                if pause is None:
                    raise outcome
                await explain(outcome)
            elif pause is None:
                return outcome
            else:
                await outcome.close()
            attempt += 1
            logger.debug("attempt %d of %s %s follows in %.2f s", attempt + 1, call.method, call.url, pause)
            await io.sleep(pause)

    async def ping(self, seconds: float | None) -> PingResponse:
        """Return how the agent feels; asked once, answered within `seconds`.

        Raises:
            NetworkError: It did not answer.
            PPIOAgentRuntimeError: What it answered is not about health.
        """
        limits = call_limits(self.config, seconds, io.now())
        async with io.Until(limits.deadline, limits.total):
            answer = await (await self._wire()).open(requests.ping(self.url, self.headers), limits)
            body = await answer.read()
        return ping_of(answer.status, answer.headers, body, unix_now=io.unix_now())

    async def hang_up(self) -> None:
        """Close the connections that wait for the next call: there will be none."""
        if self._used is not None:
            await self._used.close_idle(self.url)

    async def _wire(self) -> Transport:
        self._used = await self._transport()
        return self._used

    async def _attempt(self, call: Call, limits: Limits) -> Answer | NetworkError:
        try:
            return await (await self._wire()).open(call, limits)
        except NetworkError as error:
            return error

    def _pause(self, outcome: Answer | NetworkError, attempt: int, limits: Limits) -> float | None:
        """Return how long to wait before the next attempt; None where there must be none."""
        if isinstance(outcome, NetworkError):
            if not outcome.retryable:
                return None
            asked = None
        elif outcome.status in REFUSED_STATUSES:
            asked = retry_after_of(outcome.headers, unix_now=io.unix_now())
        else:
            return None
        left = limits.remaining(io.now())
        return self._policy.pause(attempt, chance=io.chance(), retry_after=asked, remaining=left)
