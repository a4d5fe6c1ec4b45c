"""Starts the agents in sandboxes of the PPIO platform, and watches them until they answer."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from ppio_agent_models import NetworkError

from ...._config import ClientConfig
from ...._core.lifecycle import PING_SECONDS
from ...._core.limits import call_limits
from ...._core.platform.start import PROCESS_TAG, AgentStart, is_agent
from ...._core.requests import USER_AGENT, Call
from ...._io import _async as io
from ...._sandbox import Sandbox, SandboxSpec
from .envd import Envd, StartWatch
from .sandboxes import PlatformSandboxes

if TYPE_CHECKING:
    from ...transport import Transport

logger = logging.getLogger("ppio_agent_client")

_ENVD_SECONDS = 30.0
_JOIN_SECONDS = 10.0
"""How long whoever made a sandbox has to start its agent before a caller who joins the session does."""
_JOIN_PAUSE_SECONDS = 0.5


class AgentStartup:
    """Starts agents."""

    def __init__(
        self, sandboxes: PlatformSandboxes, config: ClientConfig, transport: Callable[[], Awaitable[Transport]]
    ) -> None:
        self._sandboxes = sandboxes
        self._config = config
        self._transport = transport
        self._checked_templates: set[str] = set()

    async def is_running(self, sandbox: Sandbox) -> bool:
        """Tell whether an agent answers in a sandbox already."""
        if not is_agent(*await self._get(sandbox, "/ping", sandbox.headers)):
            return False
        if sandbox.template_id not in self._checked_templates:
            self._checked_templates.add(sandbox.template_id)
            await self._warn_if_open(sandbox)
        return True

    async def is_coming(self, sandbox: Sandbox) -> bool:
        """Tell whether somebody else starts, or has started, the agent of a sandbox, given a while to do so."""
        envd = self._envd(sandbox)
        began_at = last_seen_at = io.now()
        while not await self.is_running(sandbox):
            if await envd.runs(PROCESS_TAG):
                last_seen_at = io.now()  # it starts; or it has just ended, and is listed for a moment yet
            if io.now() - last_seen_at >= _JOIN_SECONDS:
                logger.warning("the agent of session %r has ended; it is started again", sandbox.session_id)
                return False
            if io.now() - began_at >= 2 * _JOIN_SECONDS:
                return True
            await io.sleep(_JOIN_PAUSE_SECONDS)
        return True

    async def start(self, sandbox: Sandbox, spec: SandboxSpec, start: AgentStart, token: str) -> StartWatch:
        """Start the agent of a session, closed to everybody without the session's token."""
        request = start.envd_request(spec.env_vars, token)
        watch = StartWatch(sandbox, start.timeout_seconds, self._sandboxes.get)
        await self._envd(sandbox).start(request, min(_ENVD_SECONDS, start.timeout_seconds), watch)
        return watch

    def _envd(self, sandbox: Sandbox) -> Envd:
        url, headers = self._sandboxes.envd(sandbox.sandbox_id)
        return Envd(url, headers, self._config, self._transport)

    async def _warn_if_open(self, sandbox: Sandbox) -> None:
        """Warn once for each template whose agents run before their session and answer whoever finds them."""
        headers = {name: value for name, value in sandbox.headers.items() if name != "Authorization"}
        status, _ = await self._get(sandbox, "/", headers)
        if 200 <= status < 300:
            logger.warning(
                "agents of template %s run before their session does and answer callers without its token; deploy it "
                "without a start command, or give it keys of its own",
                sandbox.template_id,
            )

    async def _get(self, sandbox: Sandbox, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body of an agent's answer; status 0 where nobody answers."""
        limits = call_limits(self._config, PING_SECONDS, io.now())
        call = Call("GET", f"{sandbox.url}{path}", {"User-Agent": USER_AGENT, **headers})
        try:
            async with io.Until(limits.deadline, limits.total):
                answer = await (await self._transport()).open(call, limits)
                return answer.status, await answer.read()
        except NetworkError:
            return 0, b""
