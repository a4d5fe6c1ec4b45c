"""The templates of a platform account, remembered for a while, and which of them a name means."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import ppio_agent_models as models
from ppio_agent_models import AuthenticationError, PlatformError, PPIOAgentRuntimeError

from ..._config import ClientConfig
from ..._io import _async as io
from ..._rules import platform_calls, platform_templates
from ..._rules.template_cache import TemplateCache

if TYPE_CHECKING:
    from ._control_plane import ControlPlane

logger = logging.getLogger("ppio_agent_client")

_MAX_PAGES = 1000
_SILENCE_SECONDS = 30.0
"""How long sandboxes are made without the list after it could not be had."""


class PlatformTemplates:
    """The templates.

    Args:
        api: The control plane.
        config: Says whether and how long the list is remembered.
    """

    def __init__(self, api: ControlPlane, config: ClientConfig) -> None:
        self._api = api
        self._ttl_seconds = config.cache_ttl if config.enable_cache else 0
        self._cache = TemplateCache(self._ttl_seconds)
        self._silent_until = 0.0
        self._unknown: set[str] = set()
        self._flight: io.SingleFlight[list[models.AgentTemplate]] = io.SingleFlight()
        self._has_metadata_list = True

    async def all(self) -> list[models.AgentTemplate]:
        """Return every template, as the platform says now."""
        return await self._flight.run(self._asked)

    async def meant(self, name: str) -> models.AgentTemplate | None:
        """Return the template that a name means, perhaps as remembered; None when no list has it.

        A template of somebody else's may be used and is in no list.
        """
        if self._cache.is_fresh(io.now()):
            found = self.remembered(name)
            if found is not None or name in self._unknown:
                return found
        if io.now() < self._silent_until:
            return None
        try:
            found = platform_templates.meant(name, await self.all())
        except PPIOAgentRuntimeError:
            self._silent_until = io.now() + _SILENCE_SECONDS
            # Sandboxes can be made without it; what is lost is how the template wants its agent to be started.
            logger.warning("the platform did not list its templates; %r is used as it is", name, exc_info=True)
            return None
        if found is None:
            self._unknown.add(name)
        return found

    def remembered(self, name: str) -> models.AgentTemplate | None:
        """Return the template that a name means, if it was listed before."""
        return platform_templates.meant(name, self._cache.all())

    def forget(self) -> None:
        """Ask anew next time."""
        self._cache = TemplateCache(self._ttl_seconds)

    async def _asked(self) -> list[models.AgentTemplate]:
        asked_at = io.now()
        templates = await self._listed()
        self._unknown.clear()
        self._cache.fill(templates, asked_at)
        return templates

    async def _listed(self) -> list[models.AgentTemplate]:
        """Return the list that has metadata, else the one that has pages."""
        if self._has_metadata_list:
            try:
                reply = await self._api.ask(platform_calls.templates_with_metadata())
                return platform_templates.templates_of(reply.value)
            except (AuthenticationError, PlatformError) as error:
                if error.status_code not in {400, 401, 403, 404, 405}:
                    raise
                refused = error
            templates = await self._paged()
            self._has_metadata_list = False
            logger.debug("templates come without metadata: %s", refused)
            return templates
        return await self._paged()

    async def _paged(self) -> list[models.AgentTemplate]:
        templates: list[models.AgentTemplate] = []
        for page in range(1, _MAX_PAGES):
            reply = await self._api.ask(platform_calls.templates_page(page))
            templates += platform_templates.templates_of(reply.value)
            if platform_templates.is_last_page(reply.value, page, platform_calls.PAGE_SIZE):
                break
        return templates
