"""How a sandbox of the PPIO platform is made, so that one whose answer was lost is found and none stays behind."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from typing import TYPE_CHECKING

from ppio_agent_models import (
    NetworkError,
    PlatformError,
    PPIOAgentRuntimeError,
    TemplateNotFoundError,
    TotalTimeoutError,
)

from ..._io import _async as io
from ..._rules import platform_answers, platform_calls, platform_marks
from ..._rules.platform_answers import MadeSandbox, SeenSandbox
from ..._sandbox import SandboxSpec

if TYPE_CHECKING:
    from ._control_plane import ControlPlane

logger = logging.getLogger("ppio_agent_client")

_LOOKS_AFTER_SECONDS = (0.0, 0.3, 0.7, 1.5, 3.0)
"""When to look for the sandbox of an answer that was lost on its way: it may be in the making yet."""
_LOOKS_AFTER_FAILURE = _LOOKS_AFTER_SECONDS[:2]
"""The same where the platform has answered that it failed."""
_ONE_LOOK = _LOOKS_AFTER_SECONDS[:1]
_SWEEP_SECONDS = 10.0
"""Longest time of one request while somebody waits for what was lost to be found."""
_MAX_PAGES = 10_000


class SandboxMaking:
    """Makes sandboxes and finds them again.

    Args:
        api: The control plane.
        is_legacy: Whether it speaks the older dialect.
    """

    def __init__(self, api: ControlPlane, *, is_legacy: bool) -> None:
        self._api = api
        self.is_legacy = is_legacy

    async def make(self, spec: SandboxSpec, template_id: str) -> MadeSandbox:
        """Return a new sandbox.

        Raises:
            TemplateNotFoundError: No such template.
            SandboxCreationError: The platform refused, or failed.
            NetworkError: No answer arrived, and no sandbox of this call was found.
        """
        create_id = io.key()
        metadata = platform_marks.written(spec, spec.template_id, create_id, is_legacy=self.is_legacy)
        question = platform_calls.create(spec, template_id, metadata, is_legacy=self.is_legacy)
        try:
            return await self._make(question, spec, create_id)
        except PPIOAgentRuntimeError as error:
            raise platform_answers.not_created(error) from error.__cause__
        except BaseException:
            # Stopped from outside while it waited: what it may have made is nobody's.
            await io.to_the_end(self._swept(create_id))
            raise

    async def living(self, session_id: str) -> list[SeenSandbox]:
        """Return the living sandboxes of a session, the one that counts first; more than one is a race."""
        marks = {platform_marks.MARKER: platform_marks.MARKER_VALUE}
        found = await self.listed({**marks, platform_marks.SESSION: platform_marks.plain(session_id)})
        # A platform that does not know the filter lists everything.
        return [each for each in found if each.marks.session_id == session_id]

    async def listed(self, metadata: dict[str, str], max_seconds: float = math.inf) -> list[SeenSandbox]:
        """Return every living sandbox of ours with these strings, oldest first."""
        found: dict[str, SeenSandbox] = {}
        token: str | None = None
        for _ in range(_MAX_PAGES):
            question = replace(platform_calls.listing(metadata, token), max_seconds=max_seconds)
            reply = await self._api.ask(question)
            for each in platform_answers.seen_sandboxes(reply.value, is_legacy=self.is_legacy):
                found[each.made.sandbox_id] = each
            following = reply.headers.get("x-next-token")
            if not following or following == token:
                break
            token = following
        return platform_answers.oldest_first(list(found.values()))

    async def connected(self, sandbox_id: str, timeout_seconds: float) -> MadeSandbox | None:
        """Wake a sandbox if it sleeps, and return its address and tokens; None when it has ended."""
        question = platform_calls.connect(sandbox_id, timeout_seconds, is_legacy=self.is_legacy)
        reply = await self._api.ask(question, known={404})
        if reply.status == 404:
            return None
        return platform_answers.made_sandbox(reply.value, is_legacy=self.is_legacy)

    async def kill(self, sandbox_id: str, max_seconds: float = math.inf) -> bool:
        """End a sandbox; False when it had ended before."""
        question = replace(platform_calls.kill(sandbox_id), max_seconds=max_seconds)
        reply = await self._api.ask(question, known={404})
        # Gone at the second attempt means that the first one did it, and its answer was lost.
        return reply.status != 404 or reply.repeated

    async def _make(self, question: platform_calls.PlatformCall, spec: SandboxSpec, create_id: str) -> MadeSandbox:
        try:
            return await self._asked(question, spec)
        except PPIOAgentRuntimeError as error:
            if not platform_answers.is_lost(error):
                raise
            lost = error
        logger.warning("the answer to a create was lost (%s); looking for what it made", lost)
        looks = _LOOKS_AFTER_SECONDS if isinstance(lost, NetworkError) else _LOOKS_AFTER_FAILURE
        try:
            adopted = await self._adopt(create_id, spec, looks)
        except PPIOAgentRuntimeError:
            await self._sweep(create_id)
            raise
        if adopted is not None:
            return adopted
        if isinstance(lost, TotalTimeoutError):
            raise lost
        try:
            made = await self._asked(question, spec)
        except PPIOAgentRuntimeError as error:
            # The first one may have arrived late, and taken the room of this one.
            await self._sweep(create_id, _LOOKS_AFTER_SECONDS if platform_answers.is_lost(error) else _ONE_LOOK)
            raise
        await self._sweep(create_id, _ONE_LOOK, spare=made.sandbox_id)
        return made

    async def _asked(self, question: platform_calls.PlatformCall, spec: SandboxSpec) -> MadeSandbox:
        reply = await self._api.ask(question, known={404})
        if reply.status == 404:
            raise TemplateNotFoundError(
                f"the platform has no template {spec.template_id!r} for this key; `list_templates()` shows what it has"
            )
        return platform_answers.made_sandbox(reply.value, is_legacy=self.is_legacy)

    async def _adopt(self, create_id: str, spec: SandboxSpec, looks: tuple[float, ...]) -> MadeSandbox | None:
        """Return the sandbox that a lost answer told of, if there is one."""
        for seconds in looks:
            await io.sleep(seconds)
            for found in await self._made_by(create_id):
                adopted = await self.connected(found.made.sandbox_id, spec.timeout_seconds)
                if adopted is not None:
                    await self._sweep(create_id, _ONE_LOOK, spare=adopted.sandbox_id)
                    return adopted
        return None

    async def _sweep(
        self, create_id: str, looks: tuple[float, ...] = _LOOKS_AFTER_SECONDS, spare: str | None = None
    ) -> None:
        """End what a create has made besides the sandbox to spare."""
        try:
            for seconds in looks:
                await io.sleep(seconds)
                found = [each.made.sandbox_id for each in await self._made_by(create_id)]
                for sandbox_id in found:
                    if sandbox_id != spare:
                        await self.kill(sandbox_id, _SWEEP_SECONDS)
                if found:
                    return
        except PPIOAgentRuntimeError:
            logger.warning("a sandbox that nobody uses may live until its time is over", exc_info=True)

    async def _swept(self, create_id: str) -> bool:
        await self._sweep(create_id)
        return True

    async def _made_by(self, create_id: str) -> list[SeenSandbox]:
        try:
            found = await self.listed({platform_marks.CREATE: create_id}, _SWEEP_SECONDS)
        except PlatformError:
            logger.debug("the platform did not list its sandboxes", exc_info=True)
            return []
        return [each for each in found if each.marks.create_id == create_id]
