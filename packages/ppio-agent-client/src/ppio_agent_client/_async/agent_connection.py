"""The connection to one agent: its URL, its headers, and its calls, which are retried if they can't run twice."""

from __future__ import annotations

import copy
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Self

import ppio_agent_models as models
from ppio_agent_models import NetworkError, StreamInterruptedError

from .._core import json_codec
from .._core.limits import Limits, call_limits
from .._core.requests import Call, Peer, ping_call
from .._core.responses import instance_of, is_refusal, ping_of, retry_after_of, speaks_protocol
from .._core.retry import (
    GATEWAY_STATUSES,
    REFUSED_STATUSES,
    RetryBudget,
    RetryPolicy,
    may_repeat_answered,
    may_repeat_lost,
)
from .._core.streaming import is_event_stream
from .._headers import merged
from .._io import _async as io
from .._tracing import note_attempt, note_call, propagated

if TYPE_CHECKING:
    from .._config import ClientConfig
    from .auth import AuthManager
    from .transport import Answer, Transport

logger = logging.getLogger("ppio_agent_client")

Explain = Callable[[NetworkError | StreamInterruptedError], Awaitable[None]]
"""Raises the real cause of a lost call, if it is known."""


class AgentConnection:
    """Everything that a call to one agent needs.

    Args:
        transport: Returns the client's transport, which is created on first use.
        config: The settings of calls over this connection.
        peer: The agent; shared with the connections that `with_config` makes.
        budget: The client's retry budget.
        auth: Authenticates each attempt; None if the headers do.
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
        """Return a connection to the same agent, over the same transport, with other settings."""
        connection = copy.copy(self)
        connection.config = config
        connection._policy = RetryPolicy(config.max_retries, config.retry_delay)
        return connection

    async def open(self, call: Call, limits: Limits, explain: Explain) -> Answer:
        """Return the response of the first attempt that was not refused, or the refusal of the last one.

        Unless it is an event stream, its body has been read. If an earlier attempt may have run and the last one has
        not, the outcome of the earlier one is returned or raised.

        Raises:
            NetworkError: No response, and no further attempt is allowed.
        """
        attempt = 0
        may_have_run: Answer | NetworkError | None = None
        note_call(call.method, call.url)
        while True:
            outcome = await self.attempt(call, limits)
            if may_have_run is None and (elsewhere := self._elsewhere(outcome, call)) is not None:
                call = elsewhere
                continue
            pause = await self._pause_after(outcome, call, attempt, limits)
            if await _ran_nothing(outcome):
                final = outcome if pause is not None or may_have_run is None or call.is_safe else may_have_run
            else:
                final = may_have_run = outcome
            if isinstance(final, NetworkError):
                if pause is None:
                    raise final
                await explain(final)
            else:
                if final.status in GATEWAY_STATUSES and not speaks_protocol(final.headers):
                    # A gateway cannot reach the agent: its sandbox may have ended.
                    await explain(NetworkError(f"a gateway responded with {final.status}", status_code=final.status))
                if pause is None:
                    return final
            attempt += 1
            reason = type(outcome).__name__ if isinstance(outcome, NetworkError) else str(outcome.status)
            note_attempt("retry", attempt, reason=reason, pause_seconds=pause)
            logger.debug("starting attempt %d of %s %s in %.2f s", attempt + 1, call.method, call.url, pause)
            await io.sleep(pause)

    async def attempt(self, call: Call, limits: Limits) -> Answer | NetworkError:
        """Send a call once, and return the response or the error. Unless it is an event stream, its body is read."""
        try:
            answer = await self._send(call, limits)
            if not (200 <= answer.status < 300 and is_event_stream(answer.headers)):
                await answer.read()
        except NetworkError as error:
            return error
        return answer

    def pause(self, failures: int, limits: Limits, answer: Answer | None = None) -> float | None:
        """Return how long to wait after this many attempts without progress, in seconds; None to give up.

        The pause ends before the deadline. `answer` is a refusal that may have a `Retry-After`.
        """
        asked = None if answer is None else retry_after_of(answer.headers, unix_now=io.unix_now())
        left = limits.remaining(io.now())
        return self._policy.pause(failures, chance=io.chance(), retry_after=asked, remaining=left)

    async def ping(self, seconds: float | None) -> models.PingResponse:
        """Return the health of the agent, from one request with a time limit of `seconds`.

        Raises:
            NetworkError: It did not respond.
            PPIOAgentRuntimeError: The response is not that of a ping.
        """
        limits = call_limits(self.config, seconds, io.now())
        call = ping_call(self.peer)
        async with io.Until(limits.deadline, limits.total):
            answer = await self._send(call, limits)
            body = await answer.read()
        return ping_of(answer.status, answer.headers, body, unix_now=io.unix_now())

    async def request_headers(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> dict[str, str]:
        """Return the headers for a request that the caller sends; see `SandboxSession.request_headers`."""
        call = Call(method, f"{self.peer.url}{path}", merged(self.peer.headers, headers), body)
        return dict(call.headers if self._auth is None else (await _authorized(call, self._auth)).headers)

    async def hang_up(self) -> None:
        """Close the idle connections to the agent: there will be no more calls."""
        await (await self._transport()).close_idle(self.peer.url)

    async def _send(self, call: Call, limits: Limits) -> Answer:
        """Send a call once; once more if the credential could be renewed after a 401, as then nothing has run."""
        wire = await self._transport()
        call = replace(call, headers=propagated(call.headers))
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
        """Record the instance, and whether it uses protocol 1; a refusal without it may come from a gateway."""
        peer, instance = self.peer, instance_of(answer.headers)
        is_agents = 200 <= answer.status < 300 and not call.is_safe
        if speaks_protocol(answer.headers):
            peer.speaks_protocol = True
        elif is_agents:
            peer.speaks_protocol = False
        if not peer.is_several and (instance is not None or is_agents):
            peer.instance = instance

    def _elsewhere(self, outcome: Answer | NetworkError, call: Call) -> Call | None:
        """Return the call for another instance, if it was refused because it named one that didn't respond; else None.

        It names the instance that responded, as after a restart. If yet another one responds to that, there are several
        instances behind a load balancer, and no more calls name one.
        """
        if isinstance(outcome, NetworkError) or call.instance is None or outcome.status != 412:
            return None
        found = instance_of(outcome.headers)
        if found is None or found == call.instance:
            return None  # a 412 of the agent's own code
        if call.was_moved:
            self.peer.is_several, self.peer.instance = True, None
            return call.for_instance(None)
        return call.for_instance(found)

    async def _pause_after(
        self, outcome: Answer | NetworkError, call: Call, attempt: int, limits: Limits
    ) -> float | None:
        if isinstance(outcome, NetworkError):
            repeats = may_repeat_lost(
                outcome, is_safe=call.is_safe, may_repeat=call.may_repeat, is_prompt=limits.is_prompt
            )
            return self._affordable(self.pause(attempt, limits)) if repeats else None
        if 200 <= outcome.status < 300:
            self._budget.earn()
            return None
        was_refused = await _ran_nothing(outcome)
        if may_repeat_answered(outcome.status, outcome.headers, was_refused=was_refused, may_repeat=call.may_repeat):
            return self._affordable(self.pause(attempt, limits, outcome))
        if outcome.status not in REFUSED_STATUSES | GATEWAY_STATUSES:
            self._budget.earn()
        return None

    def _affordable(self, pause: float | None) -> float | None:
        if pause is not None and not self._budget.spend():
            logger.debug("no further attempt: the retry budget is used up")
            return None
        return pause


async def _ran_nothing(outcome: Answer | NetworkError) -> bool:
    """Return whether an attempt has run none of the agent's code: it was never sent, or was refused."""
    if isinstance(outcome, NetworkError):
        return outcome.retryable
    if outcome.status < 400:
        return False
    return is_refusal(outcome.headers, json_codec.load_or_text(await outcome.read()))


async def _authorized(call: Call, auth: AuthManager) -> Call:
    added = await auth.authorize(call.method, call.url, call.headers, call.body, bearer=True)
    return replace(call, headers=call.headers | added)
