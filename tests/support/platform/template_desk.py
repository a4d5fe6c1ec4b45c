"""The control plane's templates: lists in both versions, details, names, tags, and an end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .refusals import RefusalError, body_of, flag, text, texts
from .templates import Build, Template, now, stamp

if TYPE_CHECKING:
    from .app import Platform


class TemplateDesk:
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
            Route("/templates/tags", self.tag, name="template_tag", methods=["POST"]),
            Route("/templates/tags", self.untag, name="template_untag", methods=["DELETE"]),
            Route("/templates/{id}/tags", self.tags, name="template_tags", methods=["GET"]),
            Route("/templates/{id}", self.details, name="template", methods=["GET"]),
            Route("/templates/{id}", self.update, name="template_update", methods=["PATCH"]),
            Route("/v2/templates/{id}", self.update, name="template_update", methods=["PATCH"]),
        ]

    async def list_v1(self, request: Request) -> Response:
        metadata = request.query_params.get("metadata") == "true"
        return JSONResponse([each.view(metadata=metadata) for each in self._templates])

    async def list_v2(self, request: Request) -> Response:
        query = request.query_params
        page, limit = query.get("page", "1"), query.get("limit", "20")
        if not (page.isdigit() and limit.isdigit() and int(page) >= 1 and 1 <= int(limit) <= 100):
            raise RefusalError(400, "the parameter 'page' must be 1 or more, 'limit' from 1 to 100")
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

    async def update(self, request: Request) -> Response:
        body = await body_of(request, required={"public": flag})
        self._named(request).public = body["public"]
        return JSONResponse({})

    async def delete(self, request: Request) -> Response:
        self._templates.remove(self._named(request))
        return Response(status_code=204)

    async def tag(self, request: Request) -> Response:
        body = await body_of(request, required={"target": text, "tags": texts})
        template, build = self._built(body["target"])
        template.tags |= dict.fromkeys(body["tags"], build.build_id)
        return JSONResponse({"buildID": build.build_id, "tags": body["tags"]}, 201)

    async def untag(self, request: Request) -> Response:
        body = await body_of(request, required={"name": text, "tags": texts})
        template = self._templates.find(body["name"])
        for name in body["tags"]:
            template.tags.pop(name, None)
        return Response(status_code=204)

    async def tags(self, request: Request) -> Response:
        tags = self._named(request).tags.items()
        return JSONResponse([{"tag": tag, "buildID": build, "createdAt": stamp(now())} for tag, build in tags])

    def _named(self, request: Request) -> Template:
        return self._templates.find(request.path_params["id"])

    def _built(self, target: str) -> tuple[Template, Build]:
        template = self._templates.find(target)
        tag = target.partition(":")[2]
        wanted: Any = template.tags.get(tag, template.builds[-1].build_id if template.builds and not tag else None)
        for build in template.builds:
            if build.build_id == wanted:
                return template, build
        raise RefusalError(404, f"there is no build '{target}'")
