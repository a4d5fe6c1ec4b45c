"""A cached list of templates; concurrent callers share one request."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import ppio_agent_models as models

from .._io import _async as io

if TYPE_CHECKING:
    from .._config import ClientConfig


class TemplateList:
    """The templates that `ask` returns.

    Attributes:
        known: The last list, however old.
    """

    def __init__(self, config: ClientConfig, ask: Callable[[], Awaitable[list[models.AgentTemplate]]]) -> None:
        self.known: list[models.AgentTemplate] = []
        self._known_at = -math.inf
        self._ttl_seconds = config.cache_ttl if config.enable_cache else 0
        self._ask = ask
        self._asking = io.SingleFlight[list[models.AgentTemplate]]()

    @property
    def is_fresh(self) -> bool:
        """Whether the cached list is still valid."""
        return self.age_seconds < self._ttl_seconds

    @property
    def age_seconds(self) -> float:
        """How long ago the list was requested."""
        return io.now() - self._known_at

    async def fetch(self) -> list[models.AgentTemplate]:
        """Request the list, and return it."""
        return list(await self._asking.run(self._fetch))

    def forget(self) -> None:
        """Clear the cache."""
        self.known, self._known_at = [], -math.inf

    async def _fetch(self) -> list[models.AgentTemplate]:
        asked_at = io.now()
        self.known = await self._ask()
        self._known_at = asked_at
        return self.known
