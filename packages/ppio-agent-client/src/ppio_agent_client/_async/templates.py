"""The templates that sessions can be created from."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

import ppio_agent_models as models

from .auth import AuthManager, checked_auth
from .providers.registry import provider_for
from .template_list import TemplateList

if TYPE_CHECKING:
    from .._config import ClientConfig
    from .providers.protocol import SandboxProvider


class TemplateManager:
    """The templates that sessions can be created from. Get it as `client.template_manager`, or create one yourself.

    One of your own opens its own connections: `await manager.close()`, or leaving `async with manager`, closes them.

    Args:
        config: URLs, limits, and whether and how long the list is cached; the environment's unless given.
        provider: Returns the provider, which isn't closed here; one is created unless given.
    """

    def __init__(
        self,
        auth_manager: AuthManager,
        config: ClientConfig | None = None,
        *,
        provider: Callable[[], SandboxProvider] | None = None,
    ) -> None:
        from .._config import settle

        self._config = settle(config, {})
        self._auth = checked_auth(auth_manager)
        self._provider = provider or self._own_provider
        self._own: SandboxProvider | None = None
        self._list = TemplateList(self._config, lambda: self._provider().list_templates())

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def list_templates(self, refresh: bool = False) -> list[models.AgentTemplate]:
        """Return all templates that sessions can be created from.

        Args:
            refresh: Request the list again, even if the cached one is still valid.
        """
        return list(self._list.known) if self._list.is_fresh and not refresh else await self._list.fetch()

    async def get_template(self, template_id: str) -> models.AgentTemplate:
        """Return one template.

        A template that isn't in the cached list may be new, so the list is then requested once more.

        Raises:
            TemplateNotFoundError: There is no template with this ID.
        """
        known = self._list.known if self._list.is_fresh else []
        found = _with_id(template_id, known) or _with_id(template_id, await self._list.fetch())
        # Not every template is in the list: the local provider also accepts the path of a folder.
        return found or await self._provider().get_template(template_id)

    async def close(self) -> None:
        """Close the connections that this manager opened, but not those of a client."""
        own, self._own = self._own, None
        if own is not None:
            await own.close()

    aclose = close  # async-only: the name that contextlib.aclosing knows

    def _own_provider(self) -> SandboxProvider:
        if self._own is None:
            self._own = provider_for(self._config, self._auth)
        return self._own


def _with_id(template_id: str, templates: list[models.AgentTemplate]) -> models.AgentTemplate | None:
    return next((each for each in templates if each.template_id == template_id), None)
