"""Creates the sandbox of a session on the PPIO platform, without duplicates or leaks."""

from __future__ import annotations

import logging
from dataclasses import replace

from ppio_agent_models import (
    NetworkError,
    PlatformError,
    PPIOAgentRuntimeError,
    SandboxCreationError,
    TemplateNotFoundError,
    TotalTimeoutError,
)

from ...._core import lifecycle
from ...._core.platform import labels
from ...._core.platform.models import PlatformSandbox
from ...._core.platform.requests import is_lost, not_created
from ...._core.platform.start import check_limits
from ...._io import _async as io
from ...._sandbox import Sandbox, SandboxSpec
from .api import PlatformApi
from .sandboxes import PlatformSandboxes
from .templates import PlatformTemplates

logger = logging.getLogger("ppio_agent_client")

_SEARCH_PAUSES_SECONDS = (0.0, 0.3, 0.7, 1.5, 3.0)
"""Pauses before each search for the sandbox of a lost response: it may not be listed yet."""
_PAUSES_AFTER_ERROR = _SEARCH_PAUSES_SECONDS[:2]
"""The same if the platform reported an error."""
_ONE_SEARCH = _SEARCH_PAUSES_SECONDS[:1]
_SEARCH_SECONDS = 10.0
"""Longest time of one request during a search."""


class SandboxCreator:
    """Finds or creates the sandbox of a session; if several are created at once, the oldest one is used."""

    def __init__(self, api: PlatformApi, sandboxes: PlatformSandboxes, templates: PlatformTemplates) -> None:
        self._api = api
        self._sandboxes = sandboxes
        self._templates = templates

    async def create(self, spec: SandboxSpec) -> Sandbox:
        """Return the sandbox of a session, or a new one. See `PlatformSandboxProvider.create`."""
        running = [] if spec.is_new else await self._sandboxes.running(spec.session_id)
        if running:
            return await self._join(running[0], spec)
        metadata = labels.labels_for(spec, io.key(), is_legacy=self._api.is_legacy)
        made = await self._create_from_name(spec, metadata)
        if not spec.is_new:
            try:
                running = await self._sandboxes.running(spec.session_id)
            except BaseException:
                await io.to_the_end(self._discard(made))
                raise
            ids = [each.sandbox_id for each in running]
            if made.sandbox_id in ids[1:]:  # another caller created an older one at the same time
                await io.to_the_end(self._discard(made))
                return await self._join(running[0], spec)
        return self._sandboxes.as_new(made, metadata, spec.timeout_seconds)

    async def _join(self, running: PlatformSandbox, spec: SandboxSpec) -> Sandbox:
        if not running.is_made_from(spec.template_id):
            wanted = await self._templates.resolve(spec.template_id)
            if wanted is None or wanted.template_id != running.template_id:
                raise lifecycle.other_template_error(spec.session_id, running.template_id, spec.template_id)
        found = await self._sandboxes.complete(running)
        if found is None:
            raise SandboxCreationError(
                f"the sandbox of session {spec.session_id!r} ended while it was joined; try again", retryable=True
            )
        return replace(found, created=False)

    async def _discard(self, made: PlatformSandbox) -> bool:
        """End an unused sandbox, and return whether that succeeded."""
        try:
            return await self._api.kill(made.sandbox_id)
        except PPIOAgentRuntimeError:
            logger.warning("the unused sandbox %s could not be ended", made.sandbox_id, exc_info=True)
            return False

    async def _create_from_name(self, spec: SandboxSpec, metadata: dict[str, str]) -> PlatformSandbox:
        template = self._templates.cached(spec.template_id)
        if spec.memory_limit is not None or spec.cpu_limit is not None:
            template = template or await self._templates.resolve(spec.template_id)
            check_limits(spec.memory_limit, spec.cpu_limit, template)
        try:
            return await self._create(spec, spec.template_id if template is None else template.template_id, metadata)
        except TemplateNotFoundError:
            # It may be a name that the vendor's tools gave the agent; the list of templates has these.
            wanted = None if template is not None else await self._templates.resolve(spec.template_id)
            if wanted is None or wanted.template_id == spec.template_id:
                raise
            return await self._create(spec, wanted.template_id, metadata)

    async def _create(self, spec: SandboxSpec, template_id: str, metadata: dict[str, str]) -> PlatformSandbox:
        try:
            return await self._create_or_adopt(spec, template_id, metadata)
        except PPIOAgentRuntimeError as error:
            raise not_created(error) from error.__cause__
        except BaseException:
            # Cancelled: end the sandbox that may have been created.
            await io.to_the_end(self._clean_up(metadata))
            raise

    async def _create_or_adopt(self, spec: SandboxSpec, template_id: str, metadata: dict[str, str]) -> PlatformSandbox:
        try:
            return await self._send(spec, template_id, metadata)
        except PPIOAgentRuntimeError as error:
            if not is_lost(error):
                raise
            lost = error
        logger.warning("the response to a create was lost (%s); looking for the sandbox", lost)
        pauses = _SEARCH_PAUSES_SECONDS if isinstance(lost, NetworkError) else _PAUSES_AFTER_ERROR
        try:
            adopted = await self._adopt(spec, metadata, pauses)
        except PPIOAgentRuntimeError:
            await self._clean_up(metadata)
            raise
        if adopted is not None:
            return adopted
        if isinstance(lost, TotalTimeoutError):
            raise lost
        try:
            made = await self._send(spec, template_id, metadata)
        except PPIOAgentRuntimeError as error:
            # The first request may have been executed late, and used up the quota for this one.
            await self._clean_up(metadata, _SEARCH_PAUSES_SECONDS if is_lost(error) else _ONE_SEARCH)
            raise
        await self._clean_up(metadata, _ONE_SEARCH, spare=made.sandbox_id)
        return made

    async def _send(self, spec: SandboxSpec, template_id: str, metadata: dict[str, str]) -> PlatformSandbox:
        made = await self._api.create(spec, template_id, metadata)
        if made is None:
            raise TemplateNotFoundError(
                f"the platform has no template {spec.template_id!r} for this key; `list_templates()` returns all"
            )
        return made

    async def _adopt(
        self, spec: SandboxSpec, metadata: dict[str, str], pauses: tuple[float, ...]
    ) -> PlatformSandbox | None:
        """Return the sandbox of a lost response, if there is one."""
        for seconds in pauses:
            await io.sleep(seconds)
            for sandbox_id in await self._made_with(metadata):
                adopted = await self._api.connect(sandbox_id, spec.timeout_seconds)
                if adopted is not None:
                    await self._clean_up(metadata, _ONE_SEARCH, spare=adopted.sandbox_id)
                    return adopted
        return None

    async def _clean_up(
        self, metadata: dict[str, str], pauses: tuple[float, ...] = _SEARCH_PAUSES_SECONDS, spare: str | None = None
    ) -> bool:
        """End the sandboxes of one create, except `spare`, and return whether there were any."""
        try:
            for seconds in pauses:
                await io.sleep(seconds)
                found = await self._made_with(metadata)
                for sandbox_id in found:
                    if sandbox_id != spare:
                        await self._api.kill(sandbox_id, _SEARCH_SECONDS)
                if found:
                    return True
        except PPIOAgentRuntimeError:
            logger.warning("an unused sandbox may keep running until it expires", exc_info=True)
        return False

    async def _made_with(self, metadata: dict[str, str]) -> list[str]:
        """Return the IDs of the sandboxes that one call of `create` has created."""
        create_id = metadata[labels.CREATE]
        try:
            found = await self._api.list_sandboxes({labels.CREATE: create_id}, _SEARCH_SECONDS)
        except PlatformError:
            logger.debug("the platform did not list its sandboxes", exc_info=True)
            return []
        return [each.sandbox_id for each in found if each.labels and each.labels.create_id == create_id]
