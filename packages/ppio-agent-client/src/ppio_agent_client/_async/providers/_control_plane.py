"""The control plane of the PPIO platform: questions, authorized, limited in time, repeated where that is safe."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from ppio_agent_models import JSON_MEDIA_TYPE, NetworkError, PPIOAgentRuntimeError

from ..._config import ClientConfig
from ..._io import _async as io
from ..._rules import json_codec, platform_answers
from ..._rules.budget import RetryBudget
from ..._rules.limits import Limits, call_limits
from ..._rules.platform_calls import PlatformCall
from ..._rules.requests import USER_AGENT, Call
from ..._rules.retry import RetryPolicy

if TYPE_CHECKING:
    from .._auth import AuthManager
    from .._transport import Transport

logger = logging.getLogger("ppio_agent_client")

_ATTEMPT_SHARE = 3
"""A question that may be asked again waits for its answer for this part of the whole time."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer of the platform.

    Attributes:
        status: HTTP status.
        headers: Found by lower-case names.
        value: The decoded body.
        repeated: Whether an earlier attempt may have done what was asked.
    """

    status: int
    headers: Mapping[str, str]
    value: Any
    repeated: bool = False


class ControlPlane:
    """Asks the platform.

    Args:
        url: Address of its API, without a trailing slash.
        auth: The credentials.
        config: The time limits and retries.
        transport: Returns the connections, which are opened when first needed.
        budget: The repetitions that can be afforded.
    """

    def __init__(
        self,
        url: str,
        auth: AuthManager,
        config: ClientConfig,
        transport: Callable[[], Awaitable[Transport]],
        budget: RetryBudget,
    ) -> None:
        self._url = url
        self._auth = auth
        self._config = config
        self._transport = transport
        self._budget = budget
        self._policy = RetryPolicy(config.max_retries, config.retry_delay)

    async def ask(self, question: PlatformCall, known: Collection[int] = ()) -> Reply:
        """Return the answer.

        Args:
            question: What to ask.
            known: Statuses besides 2xx that its caller understands.

        Raises:
            AuthenticationError: The platform refused the key.
            QuotaExceededError: The account may have no more.
            RateLimitedError: Too many requests, and no further attempt may be made.
            PlatformError: It refused the request, or failed.
            NetworkError: No answer arrived in time.
        """
        seconds = min(self._config.platform_timeout, question.max_seconds)
        limits = call_limits(self._config, seconds, io.now())
        if question.is_repeatable and limits.first_byte is None:
            limits = replace(limits, first_byte=seconds / _ATTEMPT_SHARE)
        async with io.Until(limits.deadline, limits.total):
            return await self._until_answered(question, known, limits)

    async def _until_answered(self, question: PlatformCall, known: Collection[int], limits: Limits) -> Reply:
        failures, repeated, renewed = 0, False, False
        while True:
            call = await self._authorized(question)
            outcome = await self._attempt(call, limits)
            if isinstance(outcome, Reply):
                if 200 <= outcome.status < 300 or outcome.status in known:
                    self._budget.earn()
                    return replace(outcome, repeated=repeated)
                if outcome.status == 401 and not renewed and await self._auth.renew(call.headers):
                    renewed = True
                    continue
                error = self.failure(question, outcome)
            else:
                error = outcome
            pause = self._pause(question, error, failures, limits)
            if pause is None:
                raise error
            failures += 1
            repeated = repeated or not platform_answers.is_refusal(error)
            logger.debug("attempt %d to %s follows in %.2f s", failures + 1, question.what, pause)
            await io.sleep(pause)

    async def _authorized(self, question: PlatformCall) -> Call:
        url = f"{self._url}{question.path}"
        headers = {"User-Agent": USER_AGENT, "Accept": JSON_MEDIA_TYPE}
        if question.body:
            headers["Content-Type"] = JSON_MEDIA_TYPE
        shown = await self._auth.authorize(question.method, url, headers, question.body, bearer=question.bearer)
        return Call(question.method, url, {**headers, **shown}, question.body)

    async def _attempt(self, call: Call, limits: Limits) -> Reply | NetworkError:
        try:
            answer = await (await self._transport()).open(call, limits)
            body = await answer.read()
        except NetworkError as error:
            return error
        return Reply(answer.status, answer.headers, json_codec.load_or_text(body))

    def failure(self, question: PlatformCall, reply: Reply) -> PPIOAgentRuntimeError:
        """Return what an answer means that is none of the good ones."""
        return platform_answers.failure(reply.status, reply.headers, reply.value, question.what, unix_now=io.unix_now())

    def _pause(
        self, question: PlatformCall, error: PPIOAgentRuntimeError, failures: int, limits: Limits
    ) -> float | None:
        if not platform_answers.may_repeat(error, is_repeatable=question.is_repeatable):
            return None
        left = limits.remaining(io.now())
        pause = self._policy.pause(failures, chance=io.chance(), retry_after=error.retry_after, remaining=left)
        return pause if pause is not None and self._budget.spend() else None
