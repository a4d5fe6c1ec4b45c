"""Starts agents in sandboxes of the PPIO platform, and watches them until they respond.

envd, a daemon inside each sandbox, starts their processes.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from ppio_agent_models import JSON_MEDIA_TYPE, NetworkError, PPIOAgentRuntimeError, SandboxCreationError

from ...._core import json_codec
from ...._core.lifecycle import PING_SECONDS, pauses
from ...._core.limits import call_limits
from ...._core.platform.start import (
    PROCESS_TAG,
    AgentStart,
    FrameError,
    ProcessReport,
    encode_frame,
    error_text,
    is_agent,
)
from ...._core.requests import Call
from ...._headers import USER_AGENT
from ...._io import _async as io
from ...._sandbox import Sandbox, SandboxSpec
from .sandboxes import PlatformSandboxes

if TYPE_CHECKING:
    from ...._config import ClientConfig
    from ...transport import Answer, Transport

logger = logging.getLogger("ppio_agent_client")

_ENVD_SECONDS = 30.0
_JOIN_SECONDS = 10.0
"""How long the creator of a sandbox has to start its agent, before a caller that joins the session starts it."""
_JOIN_PAUSE_SECONDS = 0.5
_STREAM_MEDIA_TYPE = "application/connect+json"
_KEEPALIVE_SECONDS = 5
"""How often envd reports that a silent process still runs; less than `idle_timeout`."""
_LIST_SECONDS = 10.0
_NOT_YET_STATUSES = frozenset({429, 502, 503, 504})
"""Statuses of gateways while envd is not ready yet."""


class AgentStartup:
    """Starts agents, and warns about agents that run already without their session's token."""

    def __init__(
        self, sandboxes: PlatformSandboxes, config: ClientConfig, transport: Callable[[], Awaitable[Transport]]
    ) -> None:
        self._sandboxes = sandboxes
        self._config = config
        self._transport = transport
        self._checked_templates: set[str] = set()

    async def is_running(self, sandbox: Sandbox) -> bool:
        """Return whether an agent already responds in a sandbox."""
        if not is_agent(*await self._get(sandbox, "/ping", sandbox.headers)):
            return False
        if sandbox.template_id not in self._checked_templates:
            self._checked_templates.add(sandbox.template_id)
            await self._warn_if_open(sandbox)
        return True

    async def is_coming(self, sandbox: Sandbox) -> bool:
        """Wait a while, and return whether another caller starts, or has started, the agent of a sandbox."""
        envd = self._envd(sandbox)
        began_at = last_seen_at = io.now()
        while not await self.is_running(sandbox):
            if await envd.runs(PROCESS_TAG):
                last_seen_at = io.now()  # it is starting; or it has just ended, and is still listed
            if io.now() - last_seen_at >= _JOIN_SECONDS:
                logger.warning("the agent of session %r has ended; starting it again", sandbox.session_id)
                return False
            if io.now() - began_at >= 2 * _JOIN_SECONDS:
                return True
            await io.sleep(_JOIN_PAUSE_SECONDS)
        return True

    async def start(self, sandbox: Sandbox, spec: SandboxSpec, start: AgentStart, token: str) -> StartWatch:
        """Start the agent of a session; it only accepts the session's token."""
        request = start.envd_request(spec.env_vars, token)
        watch = StartWatch(sandbox, start.timeout_seconds, self._sandboxes.get)
        await self._envd(sandbox).start(request, min(_ENVD_SECONDS, start.timeout_seconds), watch)
        return watch

    def _envd(self, sandbox: Sandbox) -> Envd:
        url, headers = self._sandboxes.envd(sandbox.sandbox_id)
        return Envd(url, headers, self._config, self._transport)

    async def _warn_if_open(self, sandbox: Sandbox) -> None:
        """Warn, once for each template, if its agents already run before their session and require no token."""
        headers = {name: value for name, value in sandbox.headers.items() if name != "Authorization"}
        status, _ = await self._get(sandbox, "/", headers)
        if 200 <= status < 300:
            logger.warning(
                "agents of template %s are started with the sandbox and accept callers without the session's token; "
                "deploy it without a start command, or set api_keys in the agent",
                sandbox.template_id,
            )

    async def _get(self, sandbox: Sandbox, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
        """Return status and body of an agent's response; status 0 if there was none."""
        call = Call("GET", f"{sandbox.url}{path}", {"User-Agent": USER_AGENT, **headers})
        try:
            return await _fetch(call, self._config, self._transport, PING_SECONDS)
        except NetworkError:
            return 0, b""


class Envd:
    """The envd of one sandbox, at `url`; every request needs `headers`."""

    def __init__(
        self, url: str, headers: Mapping[str, str], config: ClientConfig, transport: Callable[[], Awaitable[Transport]]
    ) -> None:
        self._url = url
        self._headers = {"User-Agent": USER_AGENT, "Connect-Protocol-Version": "1", **headers}
        self._config = config
        self._transport = transport

    async def start(self, request: dict[str, Any], seconds: float, watch: StartWatch) -> None:
        """Start a process that runs as long as its sandbox, independent of the request that started it.

        envd ends a process at the deadline of the request that started it, so this one has none.

        Args:
            request: The request of `process.Process/Start`, with a unique tag.
            seconds: How long envd may take to become ready.
            watch: Reads the stream about the process, unless that is lost.

        Raises:
            SandboxCreationError: envd refused.
            NetworkError: It could not be reached in time.
        """
        deadline = io.now() + seconds
        call = self._call("Start", encode_frame(request), _STREAM_MEDIA_TYPE)
        call.headers["Keepalive-Ping-Interval"] = str(_KEEPALIVE_SECONDS)
        for pause in pauses():
            error = await self._attempt(call, seconds, watch)
            if error is None:
                return
            # If its response was lost, the process may have been started; it must not be started twice.
            if not (isinstance(error, NetworkError) and error.retryable) and await self.runs(request["tag"]):
                return
            if io.now() + pause >= deadline:
                raise error
            await io.sleep(pause)
        raise AssertionError("pauses() does not end")

    async def runs(self, tag: str) -> bool:
        """Return whether envd lists a process with this tag."""
        call = self._call("List", b"{}", JSON_MEDIA_TYPE)
        try:
            _, body = await _fetch(call, self._config, self._transport, _LIST_SECONDS)
        except PPIOAgentRuntimeError:
            return False
        value = json_codec.load_or_text(body)
        processes = value.get("processes") if isinstance(value, dict) else None
        listed = processes if isinstance(processes, list) else []
        return any(isinstance(each, dict) and each.get("tag") == tag for each in listed)

    async def _attempt(
        self, call: Call, seconds: float, watch: StartWatch
    ) -> NetworkError | SandboxCreationError | None:
        limits = call_limits(self._config, None, io.now())
        limits = replace(limits, first_byte=limits.first_byte or seconds)
        try:
            answer = await (await self._transport()).open(call, limits)
            if answer.status == 200:
                await watch.follow(answer, seconds)
                return None
            value = json_codec.load_or_text(await answer.read())
        except NetworkError as error:
            return error
        reason = error_text(value) if isinstance(value, dict) else "no reason given"
        refusal = SandboxCreationError(
            f"envd responded with {answer.status} and did not start the agent ({reason})",
            status_code=answer.status,
            retryable=answer.status in _NOT_YET_STATUSES,
        )
        if not refusal.retryable:
            raise refusal
        return refusal

    def _call(self, verb: str, body: bytes, media_type: str) -> Call:
        headers = {**self._headers, "Content-Type": media_type}
        return Call("POST", f"{self._url}/process.Process/{verb}", headers, body)


class StartWatch:
    """Watches a starting agent: by the stream about its process, or if that is lost, by `get` from the platform.

    See `AgentWatch`.
    """

    def __init__(
        self, sandbox: Sandbox, start_timeout_seconds: float, get: Callable[[str], Awaitable[Sandbox | None]]
    ) -> None:
        self.start_timeout_seconds = start_timeout_seconds
        self._sandbox = sandbox
        self._get = get
        self._report = ProcessReport()
        self._reading: io.Background | None = None

    async def follow(self, answer: Answer, seconds: float) -> None:
        """Read until envd reports that the process runs, or why it doesn't; then continue in the background.

        Args:
            answer: The stream.
            seconds: How long envd may take for that report; keep-alives don't extend it.

        Raises:
            NetworkError: The stream was lost before that report.
        """
        deadline = io.now() + seconds
        self._answer, self._parts = answer, answer.parts()
        report = self._report = ProcessReport()
        try:
            while not report.is_known:
                report.feed(await anext(self._parts))
                if io.now() >= deadline and not report.is_known:
                    await self._parts.aclose()
                    raise NetworkError(f"envd did not report within {seconds:g} s whether the agent's process runs")
        except (StopAsyncIteration, FrameError) as error:
            await self._parts.aclose()
            raise NetworkError("envd's response to the start of the agent was cut, or is not a valid stream") from error
        self._reading = io.Background(self._read)

    async def poll(self) -> Sandbox | None:
        """Return the current state of the sandbox: ended, as soon as the agent's process has ended.

        Raises:
            SandboxCreationError: envd could not start the process.
        """
        report = self._report
        if report.has_ended:
            return replace(self._sandbox, state="ended", exit_code=report.exit_code, output=report.output)
        if report.error:
            raise SandboxCreationError(f"envd could not start the agent: {report.error}", output=report.output)
        if self._reading is None or await self._reading.wait(0):
            found = await self._get(self._sandbox.sandbox_id)
            return None if found is None else replace(found, output=report.output)
        return replace(self._sandbox, output=report.output)

    async def wait(self, seconds: float) -> None:
        """Wait this long, or until the agent ends."""
        began_at = io.now()
        if self._reading is None or (await self._reading.wait(seconds) and not self._report.has_ended):
            await io.sleep(max(0.0, began_at + seconds - io.now()))

    async def close(self) -> None:
        """Stop watching. The agent keeps running."""
        if self._reading is not None:
            await self._reading.stop(self._answer.hang_up)
            await self._parts.aclose()

    async def _read(self, _: io.Background) -> None:
        try:
            async for piece in self._parts:
                self._report.feed(piece)
        except (NetworkError, FrameError) as error:
            logger.debug("the stream of a starting agent was lost: %s", error)


async def _fetch(
    call: Call, config: ClientConfig, transport: Callable[[], Awaitable[Transport]], seconds: float
) -> tuple[int, bytes]:
    limits = call_limits(config, seconds, io.now())
    async with io.Until(limits.deadline, limits.total):
        answer = await (await transport()).open(call, limits)
        return answer.status, await answer.read()
