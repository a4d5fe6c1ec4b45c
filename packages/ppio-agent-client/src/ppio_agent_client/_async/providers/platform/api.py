"""The control plane of the PPIO platform: authenticated requests with time limits, retried if that is safe."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import ppio_agent_models as models
from ppio_agent_models import JSON_MEDIA_TYPE, AuthenticationError, NetworkError, PlatformError, PPIOAgentRuntimeError

from ...._core import json_codec
from ...._core.limits import Limits, call_limits
from ...._core.platform.models import (
    PAGE_SIZE,
    PlatformSandbox,
    is_last_page,
    log_position,
    oldest_first,
    read_log,
    read_sandbox,
    read_sandboxes,
    read_templates,
)
from ...._core.platform.requests import (
    PlatformRequest,
    about_sandbox,
    create_request,
    error_of,
    is_refusal,
    list_request,
    may_retry,
    whole_seconds,
)
from ...._core.platform.urls import PlatformUrls
from ...._core.requests import Call
from ...._core.retry import RetryBudget, RetryPolicy
from ...._headers import USER_AGENT
from ...._io import _async as io
from ...._sandbox import LogPage, SandboxSpec

if TYPE_CHECKING:
    from ...._config import ClientConfig
    from ...auth import AuthManager
    from ...transport import Transport

logger = logging.getLogger("ppio_agent_client")

_ATTEMPT_SHARE = 3
"""An idempotent request waits for its response for this fraction of the total time, so that it can be retried."""
_LOG_LINES = 1000
"""How many lines of a log one response has."""
_MAX_PAGES = 10_000


@dataclass(frozen=True, slots=True)
class Reply:
    """A response of the platform, with an error if it is not a success; status 0 if there was no response."""

    status: int
    headers: Mapping[str, str]
    value: Any
    error: PPIOAgentRuntimeError | None = None
    was_repeated: bool = False
    """Whether an earlier attempt may already have been executed."""


class PlatformApi:
    """The platform's endpoints. Methods return None or False if something isn't found.

    Every method raises `AuthenticationError` (the platform refused the key), `QuotaExceededError` (the account's quota
    is used up), `RateLimitedError` (too many requests, and no further attempt is allowed), `PlatformError` (it refused
    the request, failed, or sent an unknown response) and `NetworkError` (no response arrived in time).
    """

    def __init__(
        self,
        urls: PlatformUrls,
        auth: AuthManager,
        config: ClientConfig,
        transport: Callable[[], Awaitable[Transport]],
        budget: RetryBudget,
    ) -> None:
        self.is_legacy = urls.is_legacy
        self._url = urls.api
        self._auth = auth
        self._config = config
        self._transport = transport
        self._budget = budget
        self._policy = RetryPolicy(config.max_retries, config.retry_delay)
        self._has_metadata_list = True

    async def create(self, spec: SandboxSpec, template_id: str, labels: Mapping[str, str]) -> PlatformSandbox | None:
        """Create a sandbox; None if there is no such template."""
        request = create_request(spec, template_id, labels, is_legacy=self.is_legacy)
        return self._sandbox(await self._ask(request, known={404}))

    async def connect(self, sandbox_id: str, timeout_seconds: float) -> PlatformSandbox | None:
        """Resume a sandbox if it is paused, and return its address and tokens.

        For a running one, this may extend the time to live, but never shortens it.
        """
        body: dict[str, object] = {"timeout": whole_seconds(timeout_seconds)}
        if self.is_legacy:
            body["autoPause"] = False
        request = about_sandbox(sandbox_id, "connect to", "POST", "/connect", body)
        return self._sandbox(await self._ask(request, known={404}))

    async def get(self, sandbox_id: str) -> PlatformSandbox | None:
        """Return the current state of a sandbox, whichever process created it."""
        return self._sandbox(await self._ask(about_sandbox(sandbox_id, "get", "GET"), known={404}))

    async def list_sandboxes(self, labels: Mapping[str, str], max_seconds: float = math.inf) -> list[PlatformSandbox]:
        """Return every sandbox of this SDK with these labels, oldest first.

        A platform that doesn't support the filter lists all of them.
        """
        found: dict[str, PlatformSandbox] = {}
        token: str | None = None
        for _ in range(_MAX_PAGES):
            reply = await self._ask(list_request(labels, token, max_seconds))
            found.update((each.sandbox_id, each) for each in read_sandboxes(reply.value, is_legacy=self.is_legacy))
            following = reply.headers.get("x-next-token")
            if not following or following == token:
                break
            token = following
        return oldest_first(found.values())

    async def kill(self, sandbox_id: str, max_seconds: float = math.inf) -> bool:
        """End a sandbox; False if it had already ended."""
        return await self._delete(about_sandbox(sandbox_id, "end", "DELETE", max_seconds=max_seconds))

    async def set_timeout(self, sandbox_id: str, timeout_seconds: float) -> Reply:
        """Set the time to live of a sandbox, from now, longer or shorter than before; returns 404 and 409 too."""
        body = {"timeout": whole_seconds(timeout_seconds)}
        return await self._ask(
            about_sandbox(sandbox_id, "set the time to live of", "POST", "/timeout", body), known={404, 409}
        )

    async def pause(self, sandbox_id: str) -> Reply:
        """Pause a sandbox, and wait until it is paused; returns 404 and 409 (already paused) too."""
        body = {"sync": True} if self.is_legacy else None
        return await self._ask(about_sandbox(sandbox_id, "pause", "POST", "/pause", body), known={404, 409})

    async def logs(self, sandbox_id: str, cursor: str | None) -> LogPage | None:
        """Return the output of a sandbox's processes since a page's cursor, or from the start."""
        begin, _ = log_position(cursor)
        newer = f"/logs?{urlencode({'cursor': begin, 'limit': _LOG_LINES, 'direction': 'forward'})}"
        older = f"/logs?{urlencode({'start': begin, 'limit': _LOG_LINES})}"
        for version, ending in (("/v2", newer), ("", older)):
            request = about_sandbox(sandbox_id, "read the log of", "GET", ending, version=version)
            reply = await self._ask(request, known={404})
            if reply.status != 404:
                return read_log(reply.value, cursor)
        return None

    async def list_templates(self) -> list[models.AgentTemplate]:
        """Return all templates, from the endpoint with metadata, else from the one with pages."""
        if not self._has_metadata_list:
            return await self._list_template_pages()
        try:
            request = PlatformRequest("list templates", "GET", "/templates?metadata=true", bearer=True)
            return read_templates((await self._ask(request)).value)
        except (AuthenticationError, PlatformError) as error:
            if error.status_code not in {400, 401, 403, 404, 405}:
                raise
            refused = error
        templates = await self._list_template_pages()
        self._has_metadata_list = False
        logger.debug("listing templates without metadata: %s", refused)
        return templates

    async def delete_template(self, template_id: str) -> bool:
        """Delete a template; False if there was none."""
        path = f"/templates/{quote(template_id, safe='')}"
        return await self._delete(PlatformRequest(f"delete template {template_id!r}", "DELETE", path))

    async def _list_template_pages(self) -> list[models.AgentTemplate]:
        templates: list[models.AgentTemplate] = []
        for page in range(1, _MAX_PAGES):
            query = urlencode({"template_type": "template_build", "page": page, "limit": PAGE_SIZE})
            reply = await self._ask(PlatformRequest("list templates", "GET", f"/v2/templates?{query}"))
            templates += read_templates(reply.value)
            if is_last_page(reply.value, page):
                break
        return templates

    async def _delete(self, request: PlatformRequest) -> bool:
        reply = await self._ask(request, known={404})
        # A 404 after a retry means that the first attempt deleted it, and its response was lost.
        return reply.status != 404 or reply.was_repeated

    def _sandbox(self, reply: Reply) -> PlatformSandbox | None:
        return None if reply.status == 404 else read_sandbox(reply.value, is_legacy=self.is_legacy)

    async def _ask(self, request: PlatformRequest, known: Collection[int] = ()) -> Reply:
        """Return the response: a success, or one with a status in `known`, together with its error."""
        seconds = min(self._config.platform_timeout, request.max_seconds, self._config.timeout or math.inf)
        limits = call_limits(self._config, seconds, io.now())
        if request.is_idempotent and limits.first_byte is None and self._config.max_retries:
            limits = replace(limits, first_byte=seconds / _ATTEMPT_SHARE)
        async with io.Until(limits.deadline, limits.total):
            return await self._retried(request, known, limits)

    async def _retried(self, request: PlatformRequest, known: Collection[int], limits: Limits) -> Reply:
        failures, was_repeated, renewed = 0, False, False
        while True:
            call = await self._authorized(request)
            reply = await self._attempt(request, call, limits)
            if reply.error is None or reply.status in known:
                self._budget.earn()
                return replace(reply, was_repeated=was_repeated)
            if reply.status == 401 and not renewed and await self._auth.renew(call.headers):
                renewed = True
                continue
            pause = self._pause(request, reply.error, failures, limits)
            if pause is None:
                raise reply.error
            failures += 1
            was_repeated = was_repeated or not is_refusal(reply.error)
            logger.debug("starting attempt %d to %s in %.2f s", failures + 1, request.action, pause)
            await io.sleep(pause)

    async def _authorized(self, request: PlatformRequest) -> Call:
        url = f"{self._url}{request.path}"
        headers = {"User-Agent": USER_AGENT, "Accept": JSON_MEDIA_TYPE}
        if request.body:
            headers["Content-Type"] = JSON_MEDIA_TYPE
        credential = await self._auth.authorize(request.method, url, headers, request.body, bearer=request.bearer)
        return Call(request.method, url, {**headers, **credential}, request.body)

    async def _attempt(self, request: PlatformRequest, call: Call, limits: Limits) -> Reply:
        try:
            answer = await (await self._transport()).open(call, limits)
            value = json_codec.load_or_text(await answer.read())
        except NetworkError as error:
            return Reply(0, {}, None, error)
        failure = None
        if not 200 <= answer.status < 300:
            failure = error_of(answer.status, answer.headers, value, request.action, unix_now=io.unix_now())
        return Reply(answer.status, answer.headers, value, failure)

    def _pause(
        self, request: PlatformRequest, error: PPIOAgentRuntimeError, failures: int, limits: Limits
    ) -> float | None:
        if not may_retry(error, is_idempotent=request.is_idempotent):
            return None
        left = limits.remaining(io.now())
        pause = self._policy.pause(failures, chance=io.chance(), retry_after=error.retry_after, remaining=left)
        return pause if pause is not None and self._budget.spend() else None
