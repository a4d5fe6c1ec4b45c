"""Starts an agent from a template and waits until it responds; a sandbox whose start fails is ended."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import ppio_agent_models as models
from ppio_agent_models import PPIOAgentRuntimeError

from .._core.lifecycle import LAST_PING_SECONDS, PING_SECONDS, ended_early, is_ready, never_ready, pauses
from .._io import _async as io
from .._sandbox import Sandbox, SandboxSpec
from .agent_connection import AgentConnection
from .providers.protocol import AgentStarter

if TYPE_CHECKING:
    from .providers.protocol import AgentWatch, SandboxProvider

logger = logging.getLogger("ppio_agent_client")


async def started(
    provider: SandboxProvider, spec: SandboxSpec, connection_to: Callable[[Sandbox], AgentConnection]
) -> Sandbox:
    """Return the sandbox of a session once its agent responds; a paused one is returned as it is.

    If this fails or is cancelled, a sandbox that it created is ended, but never one that it joined.

    Raises:
        SandboxCreationError: It could not be created, or its agent ended or was not healthy in time.
    """
    made: list[Sandbox] = []

    async def make() -> Sandbox:
        sandbox = await provider.create(spec)
        made.append(sandbox)
        return sandbox

    try:
        # Not cancelled halfway, which would leak a sandbox, unless the provider itself ends it.
        sandbox = await (make() if isinstance(provider, AgentStarter) else io.to_the_end(make()))
        if sandbox.state != "paused":
            await _until_started(provider, spec, sandbox, connection_to(sandbox))
    except BaseException:
        for unfinished in made:
            if unfinished.created:
                await io.to_the_end(_end(provider, unfinished))
        raise
    return sandbox


async def until_ready(
    provider: SandboxProvider, sandbox: Sandbox, connection: AgentConnection, watch: AgentWatch | None = None
) -> None:
    """Wait until an agent reports that it is healthy. Without a `watch`, the provider is polled for its end.

    Raises:
        SandboxCreationError: Its process ended; detected at once, with its last output.
        SandboxStartTimeoutError: It was not healthy within the sandbox's `start_timeout_seconds`.
    """
    if watch is not None:
        sandbox = replace(sandbox, start_timeout_seconds=watch.start_timeout_seconds)
    deadline = io.now() + sandbox.start_timeout_seconds
    for pause in pauses():
        answer = await _answer_of(connection, max(LAST_PING_SECONDS, min(PING_SECONDS, deadline - io.now())))
        if is_ready(answer):
            return
        seen = await (provider.get(sandbox.sandbox_id) if watch is None else watch.poll())
        if seen is None or seen.state == "ended":
            raise ended_early(seen, sandbox.template_id)
        if seen.state == "paused":
            return
        if io.now() + pause >= deadline:
            raise never_ready(sandbox, answer, seen)
        await (io.sleep(pause) if watch is None else watch.wait(pause))


async def _until_started(
    provider: SandboxProvider, spec: SandboxSpec, sandbox: Sandbox, connection: AgentConnection
) -> None:
    watch: AgentWatch | None = None
    if not sandbox.created and is_ready(await _answer_of(connection, PING_SECONDS)):
        return
    try:
        if isinstance(provider, AgentStarter):
            watch = await provider.start_agent(sandbox, spec)
        await until_ready(provider, sandbox, connection, watch)
    finally:
        if watch is not None:
            await watch.close()


async def _answer_of(connection: AgentConnection, seconds: float) -> models.PingResponse | Exception:
    try:
        return await connection.ping(seconds)
    except PPIOAgentRuntimeError as error:
        return error


async def _end(provider: SandboxProvider, sandbox: Sandbox) -> bool:
    try:
        return await provider.kill(sandbox.sandbox_id)
    except PPIOAgentRuntimeError:
        # Not raised, because the caller needs the first error.
        logger.warning("sandbox %s did not start and could not be ended", sandbox.sandbox_id, exc_info=True)
        return False
