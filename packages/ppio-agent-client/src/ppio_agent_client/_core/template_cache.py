"""A list of templates that is remembered for a while. It holds no clock: who asks says what time it is."""

from __future__ import annotations

from collections.abc import Iterable

import ppio_agent_models as models


class TemplateCache:
    """The templates as they were at one moment.

    Args:
        ttl_seconds: How long they stay good; 0 remembers nothing.
    """

    def __init__(self, ttl_seconds: float) -> None:
        self._ttl_seconds = ttl_seconds
        self._templates: dict[str, models.AgentTemplate] = {}
        self._filled_at: float | None = None

    def fill(self, templates: Iterable[models.AgentTemplate], now: float) -> None:
        """Remember `templates` as what there is at `now`, in seconds."""
        self._templates = {template.template_id: template for template in templates}
        self._filled_at = now

    def is_fresh(self, now: float) -> bool:
        """Tell whether what is remembered is still good at `now`."""
        return self._filled_at is not None and now - self._filled_at < self._ttl_seconds

    def was_filled_since(self, moment: float) -> bool:
        """Tell whether somebody filled it at `moment` or later."""
        return self._filled_at is not None and self._filled_at >= moment

    def all(self) -> list[models.AgentTemplate]:
        """Return every template that is remembered."""
        return list(self._templates.values())

    def get(self, template_id: str) -> models.AgentTemplate | None:
        """Return one template, if it is remembered."""
        return self._templates.get(template_id)
