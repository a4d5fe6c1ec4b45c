"""The list of templates, remembered for a while and asked for once, however many ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ppio_agent_models import AgentTemplate

from .._config import ClientConfig
from .._io import _async as io
from .._rules.template_cache import TemplateCache

if TYPE_CHECKING:
    from .providers._protocol import SandboxProvider


class TemplateManager:
    """The templates of a client's provider. Get it as `client.template_manager`.

    Args:
        provider: Returns the provider; called when templates are first asked for.
        config: Says whether and how long the list is remembered.
    """

    def __init__(self, provider: Callable[[], SandboxProvider], config: ClientConfig) -> None:
        self._provider = provider
        self._cache = TemplateCache(config.cache_ttl if config.enable_cache else 0)
        self._turn = io.Lock()

    async def list_templates(self, refresh: bool = False) -> list[AgentTemplate]:
        """Return every template that sessions can be created from.

        Args:
            refresh: Ask the provider even if the list is still good.
        """
        if refresh or not self._cache.is_fresh(io.now()):
            await self._fill()
        return self._cache.all()

    async def get_template(self, template_id: str) -> AgentTemplate:
        """Return one template.

        A template that is not in a remembered list may be new, so a miss asks once more.

        Raises:
            TemplateNotFoundError: There is none of this id.
        """
        if self._cache.is_fresh(io.now()):
            found = self._cache.get(template_id)
            if found is not None:
                return found
        await self._fill()
        found = self._cache.get(template_id)
        # Not every template is in the list: a folder's path is one for the local provider.
        return found if found is not None else await self._provider().get_template(template_id)

    async def _fill(self) -> None:
        """Ask the provider, unless somebody else did while this waited for its turn."""
        asked_at = io.now()
        async with self._turn:
            if not self._cache.was_filled_since(asked_at):
                started_at = io.now()
                self._cache.fill(await self._provider().list_templates(), started_at)
