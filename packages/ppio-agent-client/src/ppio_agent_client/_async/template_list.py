"""A list of templates that is remembered for a while, and asked for once, however many ask."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import ppio_agent_models as models

from .._io import _async as io

if TYPE_CHECKING:
    from .._config import ClientConfig


class TemplateList:
    """The templates that `ask` lists.

    Attributes:
        known: As they were listed last, however long ago.
    """

    def __init__(self, config: ClientConfig, ask: Callable[[], Awaitable[list[models.AgentTemplate]]]) -> None:
        self.known: list[models.AgentTemplate] = []
        self._known_at = -math.inf
        self._ttl_seconds = config.cache_ttl if config.enable_cache else 0
        self._ask = ask
        self._asking = io.SingleFlight[list[models.AgentTemplate]]()

    @property
    def is_fresh(self) -> bool:
        """Whether what is known is still good."""
        return self.age_seconds < self._ttl_seconds

    @property
    def age_seconds(self) -> float:
        """How long ago it was asked for."""
        return io.now() - self._known_at

    async def fetch(self) -> list[models.AgentTemplate]:
        """Return the templates that there are now."""
        return list(await self._asking.run(self._fetch))

    def forget(self) -> None:
        """Know nothing any more."""
        self.known, self._known_at = [], -math.inf

    async def _fetch(self) -> list[models.AgentTemplate]:
        asked_at = io.now()
        self.known = await self._ask()
        self._known_at = asked_at
        return self.known
