"""Templates as the PPIO platform lists them, and which of them a name means."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ppio_agent_models as models

from . import json_codec
from .platform_answers import moment

AGENT_METADATA = "agent_runtime"
"""Where the vendor's command line keeps the manifest of an agent, as JSON in a string."""
_STATES = {"ready": "deployed", "uploaded": "deployed", "success": "deployed", "error": "failed", "waiting": "building"}


def templates_of(value: Any) -> list[models.AgentTemplate]:
    """Return the templates of one answer; items without an id are none."""
    items = value.get("templates") if isinstance(value, dict) else value
    found = (template_of(item) for item in (items if isinstance(items, list) else ()))
    return [each for each in found if each is not None]


def is_last_page(value: Any, page: int, page_size: int) -> bool:
    """Tell whether no page follows `page`, counted from 1."""
    if not isinstance(value, dict):
        return True
    total = value.get("totalPages")
    if isinstance(total, int):
        return page >= total
    return len(value.get("templates") or ()) < page_size


def template_of(item: Any) -> models.AgentTemplate | None:
    """Return one template, whatever of it is there."""
    if not isinstance(item, dict) or not isinstance(item.get("templateID"), str) or not item["templateID"]:
        return None
    metadata = item["metadata"] if isinstance(item.get("metadata"), dict) else {}
    manifest = manifest_of(metadata)
    about = _object(manifest, "metadata")
    aliases = _texts(item.get("aliases")) or _texts(item.get("names"))
    creator = _object(item, "createdBy").get("email")
    return models.AgentTemplate(
        template_id=item["templateID"],
        name=_text(about.get("name")) or next(iter(aliases), None) or item["templateID"],
        version=_text(about.get("version")) or "1.0.0",
        description=_text(about.get("description")) or _text(item.get("description")),
        author=_text(about.get("author")) or _text(creator),
        tags=_texts(about.get("tags")) or _texts(item.get("tags")),
        created_at=moment(item.get("createdAt")),
        updated_at=moment(item.get("updatedAt")),
        status=_status(item, manifest),
        metadata=metadata,
        aliases=aliases,
        cpu_count=_whole(item.get("cpuCount")),
        memory_mb=_whole(item.get("memoryMB")),
    )


def manifest_of(metadata: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest that a template's metadata carries, as text or as an object; empty when there is none."""
    said = metadata.get(AGENT_METADATA)
    if isinstance(said, str):
        try:
            said = json_codec.load(said)
        except ValueError:
            return {}
    return said if isinstance(said, dict) else {}


def meant(name: str, templates: Iterable[models.AgentTemplate]) -> models.AgentTemplate | None:
    """Return the template that `name` means.

    It may be the platform's id, an alias, or what the vendor's tools call an agent: `<name with _ for ->-<id>`, or an
    ARN that ends in `agent/` and one of these.
    """
    known = list(templates)
    name = name.rpartition("/")[2] if name.startswith("arn:") else name
    for template in known:
        if template.template_id == name:
            return template
    for template in known:
        if name in template.aliases:
            return template
    head, hyphen, tail = name.rpartition("-")
    for template in known:
        if hyphen and template.template_id == tail and head in {each.replace("-", "_") for each in names_of(template)}:
            return template
    return None


def names_of(template: models.AgentTemplate) -> list[str]:
    """Return every name of a template that is not its id."""
    return [template.name, *template.aliases]


def _status(item: dict[str, Any], manifest: dict[str, Any]) -> str:
    said = item.get("buildStatus") or item.get("status") or _object(manifest, "status").get("phase")
    return _STATES.get(said.lower(), said.lower()) if isinstance(said, str) and said else "deployed"


def _object(fields: dict[str, Any], name: str) -> dict[str, Any]:
    value = fields.get(name)
    return value if isinstance(value, dict) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _texts(value: Any) -> list[str]:
    return [each for each in value if isinstance(each, str)] if isinstance(value, list) else []


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None
