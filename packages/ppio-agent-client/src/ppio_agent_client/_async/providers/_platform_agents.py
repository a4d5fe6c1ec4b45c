"""The agents in sandboxes of the PPIO platform: the way to each of them, and how one is started."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from ppio_agent_models import NetworkError

from ..._config import ClientConfig
from ..._io import _async as io
from ..._rules import platform_start
from ..._rules.limits import call_limits
from ..._rules.platform_addresses import ENVD_TOKEN_HEADER, TRAFFIC_TOKEN_HEADER, Addresses
from ..._rules.platform_answers import MadeSandbox
from ..._rules.platform_start import PROCESS_TAG, Start
from ..._rules.readiness import PING_SECONDS
from ..._rules.requests import USER_AGENT, Call
from ..._sandbox import Sandbox, SandboxSpec
from ._envd import Envd, StartWatch

if TYPE_CHECKING:
    from .._auth import AuthManager
    from .._transport import Transport
    from ._protocol import AgentWatch

logger = logging.getLogger("ppio_agent_client")

_ENVD_USER = "Basic dXNlcjo="
"""The user `user`, whom an envd before 0.4.0 wants to be told."""
_ENVD_SECONDS = 30.0
_JOIN_SECONDS = 10.0
"""How long who made a sandbox has to start its agent before somebody else does, who joins the session."""
_JOIN_PAUSE_SECONDS = 0.5
_MAX_KNOWN = 20_000
"""Sandboxes that something is remembered of; the platform is asked about an older one anew."""


class PlatformAgents:
    """What is known of the ways to sandboxes, beyond what their ids say.

    Args:
        addresses: Of this installation of the platform.
        auth: Derives the tokens of sessions.
        config: The time limits.
        transport: Returns the connections.
    """

    def __init__(
        self,
        addresses: Addresses,
        auth: AuthManager,
        config: ClientConfig,
        transport: Callable[[], Awaitable[Transport]],
    ) -> None:
        self._addresses = addresses
        self._auth = auth
        self._config = config
        self._transport = transport
        self._known: dict[str, MadeSandbox] = {}
        self._looked_behind: set[str] = set()

    def know(self, made: MadeSandbox) -> None:
        """Remember what the platform said of a sandbox; what it did not say again is still true."""
        before = self._known.get(made.sandbox_id)
        if before is not None:
            made = replace(
                made,
                domain=made.domain or before.domain,
                envd_token=made.envd_token or before.envd_token,
                envd_version=made.envd_version or before.envd_version,
                traffic_token=made.traffic_token or before.traffic_token,
            )
        self._known.pop(made.sandbox_id, None)
        self._known[made.sandbox_id] = made
        if len(self._known) > _MAX_KNOWN:
            self._known.pop(next(iter(self._known)))

    def forget(self, sandbox_id: str) -> None:
        """Forget a sandbox that has ended."""
        self._known.pop(sandbox_id, None)

    def known(self, sandbox_id: str) -> MadeSandbox | None:
        """Return what the platform has said of a sandbox, if it has."""
        return self._known.get(sandbox_id)

    def has_token(self, sandbox_id: str) -> bool:
        """Tell whether the platform has said what its addresses want."""
        known = self._known.get(sandbox_id)
        return known is not None and known.traffic_token is not None

    def way_to(self, sandbox_id: str, session_id: str) -> tuple[str, dict[str, str]]:
        """Return where the agent of a session listens, and the headers that it and the way to it want."""
        known = self._known.get(sandbox_id)
        url, headers = self._addresses.of_agent(sandbox_id, None if known is None else known.domain)
        headers["Authorization"] = f"Bearer {self._auth.session_token(session_id)}"
        return url, {**headers, **_traffic(known)}

    async def is_there(self, sandbox: Sandbox) -> bool:
        """Tell whether an agent answers in a sandbox already."""
        status, body = await self._ask(sandbox, "/ping", sandbox.headers)
        if not platform_start.is_somebody(status, body):
            return False
        if sandbox.template_id not in self._looked_behind:
            self._looked_behind.add(sandbox.template_id)
            await self._look_behind(sandbox)
        return True

    async def comes(self, sandbox: Sandbox) -> bool:
        """Tell whether somebody else starts, or has started, the agent of a sandbox, given a while to do so."""
        envd = self._envd_of(sandbox)
        began_at = alone_since = io.now()
        while not await self.is_there(sandbox):
            if await envd.runs(PROCESS_TAG):
                alone_since = io.now()  # it starts; or it has just ended, and is listed for a moment yet
            if io.now() - alone_since >= _JOIN_SECONDS:
                logger.warning("the agent of session %r has ended; it is started again", sandbox.session_id)
                return False
            if io.now() - began_at >= 2 * _JOIN_SECONDS:
                return True
            await io.sleep(_JOIN_PAUSE_SECONDS)
        return True

    async def start(
        self, sandbox: Sandbox, spec: SandboxSpec, start: Start, get: Callable[[str], Awaitable[Sandbox | None]]
    ) -> AgentWatch:
        """Start the agent of a session, closed to everybody without the session's token."""
        envd = self._envd_of(sandbox)
        token = self._auth.session_token(spec.session_id)
        request = platform_start.request_of(start, spec.env_vars, token)
        process = await envd.start(request, min(_ENVD_SECONDS, start.timeout_seconds))
        return StartWatch(process, sandbox, start.timeout_seconds, get)

    def _envd_of(self, sandbox: Sandbox) -> Envd:
        known = self._known.get(sandbox.sandbox_id)
        url, headers = self._addresses.of_envd(sandbox.sandbox_id, None if known is None else known.domain)
        headers.update(_traffic(known))
        if known is not None and known.envd_token is not None:
            headers[ENVD_TOKEN_HEADER] = known.envd_token
        if known is not None and platform_start.wants_user(known.envd_version):
            headers["Authorization"] = _ENVD_USER
        return Envd(url, headers, self._config, self._transport)

    async def _look_behind(self, sandbox: Sandbox) -> None:
        """Warn once for each template whose agents run before their session and answer whoever finds them."""
        headers = {name: value for name, value in sandbox.headers.items() if name != "Authorization"}
        status, _ = await self._ask(sandbox, "/", headers)
        if 200 <= status < 300:
            logger.warning(
                "agents of template %s run before their session does and answer callers without its token; deploy it "
                "without a start command, or give it keys of its own",
                sandbox.template_id,
            )

    async def _ask(self, sandbox: Sandbox, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body of a question to an agent; status 0 where nobody answers."""
        limits = call_limits(self._config, PING_SECONDS, io.now())
        call = Call("GET", f"{sandbox.url}{path}", {"User-Agent": USER_AGENT, **headers})
        try:
            async with io.Until(limits.deadline, limits.total):
                answer = await (await self._transport()).open(call, limits)
                return answer.status, await answer.read()
        except NetworkError:
            return 0, b""


def _traffic(known: MadeSandbox | None) -> dict[str, str]:
    token = None if known is None else known.traffic_token
    return {} if token is None else {TRAFFIC_TOKEN_HEADER: token}
