"""The connection to one agent: its address, its headers, and calls that are retried where nothing can run twice."""

from __future__ import annotations

import copy
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import ppio_agent_models as models
from ppio_agent_models import NetworkError, PPIOAgentRuntimeError, StreamInterruptedError

from .._config import ClientConfig
from .._core.limits import Limits, call_limits
from .._core.requests import Call, Peer, ping_call
from .._core.responses import ping_of, retry_after_of
from .._core.retry import (
    GATEWAY_STATUSES,
    REFUSED_STATUSES,
    RetryBudget,
    RetryPolicy,
    may_repeat_lost,
    may_repeat_refused,
    speaks_protocol,
)
from .._core.streaming import is_event_stream
from .._io import _async as io

if TYPE_CHECKING:
    from .auth import AuthManager
    from .transport import Answer, Transport

logger = logging.getLogger("ppio_agent_client")

_PING_SECONDS = 10.0

Explain = Callable[[NetworkError | StreamInterruptedError], Awaitable[None]]
"""Raises what is really the matter with a lost call, where that is known."""


class AgentConnection:
    """Everything that a call to one agent needs.

    Args:
        transport: Returns the client's connections, which are opened when first needed.
        config: The settings of calls over this connection.
        peer: The agent; shared with the connections that `with_config` makes.
        budget: The retries that the client can afford.
        auth: Adds to each attempt what shows who calls; None where the headers do.
    """

    def __init__(
        self,
        transport: Callable[[], Awaitable[Transport]],
        config: ClientConfig,
        peer: Peer,
        *,
        budget: RetryBudget,
        auth: AuthManager | None = None,
    ) -> None:
        self.config = config
        self.peer = peer
        self._transport = transport
        self._budget = budget
        self._auth = auth
        self._policy = RetryPolicy(config.max_retries, config.retry_delay)

    def with_config(self, config: ClientConfig) -> Self:
        """Return a connection to the same agent, over the same sockets, with other settings."""
        connection = copy.copy(self)
        connection.config = config
        connection._policy = RetryPolicy(config.max_retries, config.retry_delay)
        return connection

    async def open(self, call: Call, limits: Limits, explain: Explain) -> Answer:
        """Return the answer of the first attempt that was not refused, or the refusal of the last.

        Whatever is no event stream has been read.

        Raises:
            NetworkError: No answer, and no further attempt may be made.
        """
        attempt = 0
        while True:
            outcome = await self.attempt(call, limits)
            pause = await self._pause_after(outcome, call, attempt, limits)
            if isinstance(outcome, NetworkError):
                if pause is None:
                    raise outcome
                await explain(outcome)
            else:
                if outcome.status in GATEWAY_STATUSES and not speaks_protocol(outcome.headers):
                    # Whoever stands before the agent does not reach it: its sandbox may have ended.
                    await explain(NetworkError(f"a gateway answered {outcome.status}", status_code=outcome.status))
                if pause is None:
                    return outcome
            attempt += 1
            logger.debug("attempt %d of %s %s follows in %.2f s", attempt + 1, call.method, call.url, pause)
            await io.sleep(pause)

    async def attempt(self, call: Call, limits: Limits) -> Answer | NetworkError:
        """Return what comes of sending a call once. Whatever is no event stream has been read."""
        try:
            answer = await self._send(call, limits)
            if not (200 <= answer.status < 300 and is_event_stream(answer.headers)):
                await answer.read()
        except NetworkError as error:
            return error
        return answer

    def pause(self, failures: int, limits: Limits, answer: Answer | None = None) -> float | None:
        """Return how long to wait after so many attempts without progress, in seconds; None to give up.

        The pause does not outlast the limits. `answer` is a refusal that may say how long to wait.
        """
        asked = None if answer is None else retry_after_of(answer.headers, unix_now=io.unix_now())
        left = limits.remaining(io.now())
        return self._policy.pause(failures, chance=io.chance(), retry_after=asked, remaining=left)

    async def ping(self, seconds: float | None) -> models.PingResponse:
        """Return the health of the agent; asked once, answered within `seconds`.

        Raises:
            NetworkError: It did not answer.
            PPIOAgentRuntimeError: What it answered is not about health.
        """
        limits = call_limits(self.config, seconds, io.now())
        call = ping_call(self.peer)
        async with io.Until(limits.deadline, limits.total):
            answer = await self._send(call, limits)
            body = await answer.read()
        return ping_of(answer.status, answer.headers, body, unix_now=io.unix_now())

    async def hang_up(self) -> None:
        """Close the connections that wait for the next call: there will be none."""
        await (await self._transport()).close_idle(self.peer.url)

    async def _send(self, call: Call, limits: Limits) -> Answer:
        """Send a call once; once more where a 401 lets the credential be renewed, for then nothing has run."""
        wire = await self._transport()
        if self._auth is None:
            answer = await wire.open(call, limits)
        else:
            authorized = await _authorized(call, self._auth)
            answer = await wire.open(authorized, limits)
            if answer.status == 401:
                await answer.read()
                if await self._auth.renew(authorized.headers):
                    answer = await wire.open(await _authorized(call, self._auth), limits)
        self._learn(call, answer)
        return answer

    def _learn(self, call: Call, answer: Answer) -> None:
        """Note whether the agent speaks protocol 1; a refusal without its name may be somebody else's."""
        if speaks_protocol(answer.headers):
            self.peer.speaks_protocol = True
        elif 200 <= answer.status < 300 and not call.is_safe:
            self.peer.speaks_protocol = False

    async def _pause_after(
        self, outcome: Answer | NetworkError, call: Call, attempt: int, limits: Limits
    ) -> float | None:
        if isinstance(outcome, NetworkError):
            repeats = self._may_repeat_lost(outcome, call, limits) or (
                await self._turns_out_to_speak(outcome, call) and self._may_repeat_lost(outcome, call, limits)
            )
            return self._affordable(self.pause(attempt, limits)) if repeats else None
        if 200 <= outcome.status < 300:
            self._budget.earn()
            return None
        if may_repeat_refused(outcome.status, outcome.headers, may_repeat=self._may_repeat(call)):
            return self._affordable(self.pause(attempt, limits, outcome))
        if outcome.status not in REFUSED_STATUSES | GATEWAY_STATUSES:
            self._budget.earn()
        return None

    def _affordable(self, pause: float | None) -> float | None:
        if pause is not None and not self._budget.spend():
            logger.debug("no further attempt: too few of the last calls were answered")
            return None
        return pause

    def _may_repeat(self, call: Call) -> bool:
        """Whether a call can be sent again although it may have arrived."""
        return call.is_safe or (call.has_key and self.peer.speaks_protocol is True)

    def _may_repeat_lost(self, error: NetworkError, call: Call, limits: Limits) -> bool:
        may_repeat = self._may_repeat(call)
        return may_repeat_lost(error, is_safe=call.is_safe, may_repeat=may_repeat, is_prompt=limits.is_prompt)

    async def _turns_out_to_speak(self, lost: NetworkError, call: Call) -> bool:
        """Ask an agent that has never answered yet which protocol it speaks, if a lost call depends on it."""
        if self.peer.speaks_protocol is not None or not call.has_key or type(lost) is not NetworkError:
            return False
        try:
            await self.ping(_PING_SECONDS)
        except PPIOAgentRuntimeError:
            logger.debug("an agent whose answer was lost does not answer a ping either", exc_info=True)
        return self.peer.speaks_protocol is True


async def _authorized(call: Call, auth: AuthManager) -> Call:
    added = await auth.authorize(call.method, call.url, call.headers, call.body, bearer=True)
    return replace(call, headers=call.headers | added)
