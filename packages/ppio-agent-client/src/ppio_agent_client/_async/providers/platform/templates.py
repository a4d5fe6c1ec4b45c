"""Finds templates of a platform account by name."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import ppio_agent_models as models
from ppio_agent_models import PPIOAgentRuntimeError

from ...._core.platform.models import find_template
from ...._io import _async as io
from ...template_list import TemplateList
from .api import PlatformApi

if TYPE_CHECKING:
    from ...._config import ClientConfig

logger = logging.getLogger("ppio_agent_client")

_JUST_NOW_SECONDS = 1.0
"""A list this old is not requested again because a name is missing in it."""
_PAUSE_SECONDS = 30.0
"""How long the list is not requested again after that failed."""


class PlatformTemplates(TemplateList):
    """The templates of the account."""

    def __init__(self, api: PlatformApi, config: ClientConfig) -> None:
        super().__init__(config, self._listed)
        self._api = api
        self._unavailable_until = 0.0
        self._unknown: set[str] = set()

    async def resolve(self, name: str) -> models.AgentTemplate | None:
        """Return the template with this name or ID, perhaps from the cache; None if it is not in the list.

        A template of another account can be used, but is not in the list.
        """
        if self.is_fresh:
            found = self.cached(name)
            if found is not None or name in self._unknown or self.age_seconds < _JUST_NOW_SECONDS:
                return found
        if io.now() < self._unavailable_until:
            return None
        try:
            found = find_template(name, await self.fetch())
        except PPIOAgentRuntimeError:
            self._unavailable_until = io.now() + _PAUSE_SECONDS
            # Sandboxes can be created without the list; only the template's start settings are then missing.
            logger.warning("the platform did not list its templates; using %r as template ID", name, exc_info=True)
            return None
        if found is None:
            self._unknown.add(name)
        return found

    def cached(self, name: str) -> models.AgentTemplate | None:
        """Return the template with this name or ID, if it was listed before."""
        return find_template(name, self.known)

    async def _listed(self) -> list[models.AgentTemplate]:
        templates = await self._api.list_templates()
        self._unknown.clear()
        return templates
