"""Templates: the files of sandboxes, what runs in them from the start, how they were built, and their endpoints."""

from __future__ import annotations

import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

if TYPE_CHECKING:
    from .app import Platform


def now() -> datetime:
    return datetime.now(UTC)


def stamp(when: datetime) -> str:
    return when.isoformat(timespec="microseconds").replace("+00:00", "Z")


@dataclass
class Build:
    """One attempt to build a template."""

    build_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    status: str = "waiting"
    logs: list[dict[str, Any]] = field(default_factory=list)
    reason: dict[str, Any] | None = None
    created_at: datetime = field(default_factory=now)
    cpu_count: int = 2
    memory_mb: int = 1024
    steps: list[dict[str, Any]] = field(default_factory=list)

    def log(self, message: str, *, level: str = "info", step: str = "") -> None:
        entry = {"timestamp": stamp(now()), "level": level, "message": message}
        self.logs.append(entry | ({"step": step} if step else {}))

    def fail(self, message: str, step: str) -> None:
        self.log(message, level="error", step=step)
        self.reason = {"message": message, "step": step, "logEntries": self.logs[-1:]}
        self.status = "error"

    def view(self) -> dict[str, Any]:
        return {
            "buildID": self.build_id,
            "status": self.status,
            "cpuCount": self.cpu_count,
            "memoryMB": self.memory_mb,
            "createdAt": stamp(self.created_at),
            "updatedAt": stamp(self.created_at),
        }


@dataclass
class Template:
    """What sandboxes are made from.

    Attributes:
        root: What becomes the sandbox's `/`; None for one without files.
        agent: Answers in this process instead of a real one on port 8080.
        start_cmd: Runs from the start, without the sandbox's own environment.
    """

    template_id: str
    root: Path | None = None
    agent: ASGIApp | None = None
    names: list[str] = field(default_factory=list)
    metadata: dict[str, str] | None = None
    start_cmd: str = ""
    ready_cmd: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    workdir: str = "/home/user"
    template_type: str = "template_build"
    builds: list[Build] = field(default_factory=list)
    tags: dict[str, str] = field(default_factory=dict)
    public: bool = False
    cpu_count: int = 2
    memory_mb: int = 1024
    spawn_count: int = 0
    created_at: datetime = field(default_factory=now)
    updated_at: datetime = field(default_factory=now)

    def view(self, *, metadata: bool) -> dict[str, Any]:
        """Return it as lists and details show it."""
        build = self.builds[-1] if self.builds else Build(status="ready")
        return {
            "templateID": self.template_id,
            "buildID": build.build_id,
            "buildStatus": build.status,
            "buildCount": len(self.builds),
            "aliases": self.names,
            "names": self.names,
            "templateType": self.template_type,
            "cpuCount": self.cpu_count,
            "memoryMB": self.memory_mb,
            "diskSizeMB": 20480,
            "envdVersion": "0.5.8",
            "public": self.public,
            "spawnCount": self.spawn_count,
            "createdAt": stamp(self.created_at),
            "updatedAt": stamp(self.updated_at),
            "lastSpawnedAt": None,
            "createdBy": {"id": "u-1", "email": "dev@example.com"},
        } | ({"metadata": self.metadata} if metadata and self.metadata is not None else {})


class Templates:
    """All templates, the oldest first."""

    def __init__(self) -> None:
        self._by_id: dict[str, Template] = {}

    def add(self, template: Template) -> Template:
        self._by_id[template.template_id] = template
        return template

    def find(self, name: str) -> Template:
        """Return the one with this id, or with this name (`name` or `name:tag`).

        Raises:
            HTTPException: There is none.
        """
        if found := self._by_id.get(name) or self._by_id.get(name.partition(":")[0]):
            return found
        for template in self:
            if name in template.names or name.partition(":")[0] in template.names:
                return template
        raise HTTPException(404, f"template '{name}' not found")

    def remove(self, template: Template) -> None:
        del self._by_id[template.template_id]

    def __iter__(self) -> Iterator[Template]:
        return iter(list(self._by_id.values()))

    @staticmethod
    def new_id() -> str:
        return secrets.token_hex(10)


class TemplateEndpoints:
    """The endpoints about templates; most of them are not there on the legacy platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._templates = platform.templates

    def routes(self) -> list[Route]:
        """Return the routes; their names are what the request log and the faults call them."""
        shared = [
            Route("/templates", self.list_v1, name="templates", methods=["GET"]),
            Route("/v2/templates", self.list_v2, name="templates_v2", methods=["GET"]),
            Route("/templates/{id}", self.delete, name="template_delete", methods=["DELETE"]),
        ]
        if self._platform.legacy:
            return shared
        return [
            *shared,
            Route("/templates/aliases/{alias}", self.alias, name="template_alias", methods=["GET"]),
            Route("/templates/{id}/tags", self.tags, name="template_tags", methods=["GET"]),
            Route("/templates/{id}", self.details, name="template", methods=["GET"]),
        ]

    async def list_v1(self, request: Request) -> Response:
        metadata = request.query_params.get("metadata") == "true"
        return JSONResponse([each.view(metadata=metadata) for each in self._templates])

    async def list_v2(self, request: Request) -> Response:
        query = request.query_params
        page, limit = query.get("page", "1"), query.get("limit", "20")
        if not (page.isdigit() and limit.isdigit() and int(page) >= 1 and 1 <= int(limit) <= 100):
            raise HTTPException(400, "the parameter 'page' must be 1 or more, 'limit' from 1 to 100")
        kind = query.get("template_type", "template_build")
        found = [each for each in self._templates if each.template_type == kind]
        first = (int(page) - 1) * int(limit)
        body = {
            "templates": [each.view(metadata=True) for each in found[first : first + int(limit)]],
            "total": len(found),
            "page": int(page),
            "limit": int(limit),
            "totalPages": -(-len(found) // int(limit)),
        }
        return JSONResponse(body)

    async def details(self, request: Request) -> Response:
        template = self._named(request)
        return JSONResponse(template.view(metadata=True) | {"builds": [each.view() for each in template.builds]})

    async def alias(self, request: Request) -> Response:
        template = self._templates.find(request.path_params["alias"])
        return JSONResponse({"templateID": template.template_id, "public": template.public})

    async def delete(self, request: Request) -> Response:
        self._templates.remove(self._named(request))
        return Response(status_code=204)

    async def tags(self, request: Request) -> Response:
        tags = self._named(request).tags.items()
        return JSONResponse([{"tag": tag, "buildID": build, "createdAt": stamp(now())} for tag, build in tags])

    def _named(self, request: Request) -> Template:
        return self._templates.find(request.path_params["id"])
