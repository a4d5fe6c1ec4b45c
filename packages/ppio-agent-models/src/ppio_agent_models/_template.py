"""Templates: what sandboxes start from."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import Field

from ._base import Contract


class AgentMetadata(Contract):
    """Name, version and description of an agent."""

    name: str
    version: str = "1.0.0"
    description: str | None = None
    author: str | None = None
    tags: list[str] = Field(default_factory=list)
    created_at: datetime | None = None


class AgentTemplate(Contract):
    """A deployed agent.

    Attributes:
        template_id: What `create_session` takes.
        status: Such as `"deployed"` or `"building"`.
        metadata: Other data that the platform keeps with it.
        aliases: Its other names.
        cpu_count: Processors of its sandboxes; None if not known.
        memory_mb: Memory of its sandboxes, in MiB; None if not known.
        protocols: The protocols in its manifest, in addition to our own, such as `["ag-ui", "openai"]`, or `["all"]`.
    """

    template_id: str
    name: str
    version: str = "1.0.0"
    description: str | None = None
    author: str | None = None
    tags: list[str] = Field(default_factory=list)
    created_at: datetime | None = None
    updated_at: datetime | None = None
    status: str = "deployed"
    metadata: dict[str, Any] = Field(default_factory=dict)
    aliases: list[str] = Field(default_factory=list)
    cpu_count: int | None = None
    memory_mb: int | None = None
    protocols: list[str] = Field(default_factory=list)
