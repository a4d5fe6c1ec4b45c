"""The control plane's sandboxes: create, find, list, end, extend, pause, go on."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs, unquote

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .sandboxes import CLIENT_ID, Sandbox, SandboxOptions
from .templates import now, stamp
from .validation import body_of, flag, listing, mapping, pairs, seconds, text, texts

if TYPE_CHECKING:
    from .app import Platform

_SHARED: Final = {"autoPause": flag, "metadata": pairs, "timeout": seconds, "envVars": pairs, "secure": flag}
CREATE_LEGACY: Final = _SHARED | {"allowInternetAccess": flag, "nodeID": text}
CREATE_MODERN: Final = _SHARED | {
    "allow_internet_access": flag,
    "autoResume": mapping,
    "network": mapping,
    "mcp": mapping,
    "volumeMounts": listing,
    "secrets": pairs,
    "nodeID": text,
}
_NETWORK: Final = {"allowOut": texts, "denyOut": texts, "allowPublicTraffic": flag, "maskRequestHost": text}
_OPENING: Final = {"secure": flag, "network": mapping, "allowPublicTraffic": flag}
STATES: Final = {"running", "paused"}


class SandboxEndpoints:
    """The endpoints about sandboxes. Which fields a body may have depends on the platform's flavour."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._sandboxes = platform.sandboxes

    def routes(self) -> list[Route]:
        """Return the routes; their names are what the request log and the faults call them."""
        one = "/sandboxes/{id}"
        return [
            Route("/sandboxes", self.create, name="create", methods=["POST"]),
            Route("/v2/sandboxes", self.list_v2, name="list", methods=["GET"]),
            Route(one, self.info, name="info", methods=["GET"]),
            Route(one, self.kill, name="kill", methods=["DELETE"]),
            Route(f"{one}/connect", self.connect, name="connect", methods=["POST"]),
            Route(f"{one}/pause", self.pause, name="pause", methods=["POST"]),
            Route(f"{one}/timeout", self.timeout, name="timeout", methods=["POST"]),
            Route(f"{one}/logs", self.logs, name="logs", methods=["GET"]),
            Route(f"/v2{one}/logs", self.logs, name="logs_v2", methods=["GET"]),
        ]

    async def create(self, request: Request) -> Response:
        optional = CREATE_LEGACY if self._platform.legacy else CREATE_MODERN
        body = await body_of(request, required={"templateID": text}, optional=optional)
        template = self._platform.templates.find(body["templateID"])
        if template.builds and template.builds[-1].status != "ready":
            raise HTTPException(400, f"template '{template.template_id}' has no ready build")
        options = SandboxOptions(
            body.get("timeout", 15),
            body.get("metadata", {}),
            body.get("envVars", {}),
            body.get("secure", False),
            body.get("autoPause", False),
            checked(body.get("autoResume", {}), {"enabled": flag}).get("enabled", False),
            body.get("allow_internet_access", body.get("allowInternetAccess", True)),
            checked(body.get("network", {}), _NETWORK),
        )
        if options.seconds > self._sandboxes.longest_seconds:
            raise HTTPException(400, f"Timeout cannot be greater than {self._sandboxes.longest_seconds / 3600:g} hours")
        return JSONResponse(self._opened(await self._sandboxes.create(template, options)), 201)

    async def list_v2(self, request: Request) -> Response:
        states = set(",".join(request.query_params.getlist("state")).split(",")) - {""}
        if states - STATES:
            raise HTTPException(400, "the parameter 'state' must be of running, paused")
        limit = request.query_params.get("limit", "100")
        if not limit.isdigit() or not 1 <= int(limit) <= 100:
            raise HTTPException(400, "the parameter 'limit' must be from 1 to 100")
        found = self._found(request, states or STATES)
        if token := request.query_params.get("nextToken"):
            after = read_token(token)
            found = [each for each in found if key(each) > after]
        page = found[: int(limit)]
        more = len(found) > len(page)
        return JSONResponse(
            [each.view() for each in page], headers={"x-next-token": write_token(page[-1])} if more else None
        )

    def _found(self, request: Request, states: set[str]) -> list[Sandbox]:
        wanted = metadata_filter(request.query_params.get("metadata", ""))
        return sorted(
            (
                each
                for each in self._sandboxes
                if each.state in states and wanted.items() <= each.options.metadata.items()
            ),
            key=key,
        )

    async def info(self, request: Request) -> Response:
        sandbox = self._named(request)
        return JSONResponse(
            sandbox.view()
            | {
                "envdAccessToken": sandbox.envd_token,
                "allowInternetAccess": sandbox.options.allow_internet_access,
                "network": sandbox.options.network,
                "lifecycle": {
                    "onTimeout": "pause" if sandbox.options.auto_pause else "kill",
                    "autoResume": sandbox.options.auto_resume,
                },
                **self._domain(),
            }
        )

    async def kill(self, request: Request) -> Response:
        await self._sandboxes.kill(self._named(request))
        return Response(status_code=204)

    async def connect(self, request: Request) -> Response:
        optional = {"autoPause": flag, **_OPENING} if self._platform.legacy else _OPENING
        body = await body_of(request, required={"timeout": seconds}, optional=optional)
        sandbox = self._named(request)
        if sandbox.state == "paused":
            await self._sandboxes.resume(sandbox, body["timeout"])
            return JSONResponse(self._opened(sandbox), 201)
        if now() + timedelta(seconds=body["timeout"]) > sandbox.end_at:
            self._sandboxes.live_for(sandbox, body["timeout"])
        return JSONResponse(self._opened(sandbox))

    async def pause(self, request: Request) -> Response:
        await body_of(request, optional={"sync": flag} if self._platform.legacy else {})
        sandbox = self._named(request)
        if sandbox.state == "paused":
            raise HTTPException(409, f"sandbox '{sandbox.sandbox_id}' is already paused")
        await self._sandboxes.pause(sandbox)
        return Response(status_code=204)

    async def timeout(self, request: Request) -> Response:
        body = await body_of(request, required={"timeout": seconds})
        self._sandboxes.live_for(self._running(request), body["timeout"])
        return Response(status_code=204)

    async def logs(self, request: Request) -> Response:
        sandbox = self._named(request)
        limit = int(request.query_params.get("limit", "1000"))
        entries = list(sandbox.logs)[-limit:]
        records = [{"message": entry["message"], **entry["fields"]} for entry in entries]
        lines = [
            {"timestamp": entry["timestamp"], "line": json.dumps(record)}
            for entry, record in zip(entries, records, strict=True)
        ]
        return JSONResponse({"logs": entries if "v2" in request.url.path else lines, "logEntries": entries})

    def _named(self, request: Request) -> Sandbox:
        return self._sandboxes.find(request.path_params["id"])

    def _running(self, request: Request) -> Sandbox:
        sandbox = self._named(request)
        if sandbox.state != "running":
            raise HTTPException(404, f"sandbox '{sandbox.sandbox_id}' is not running")
        return sandbox

    def _domain(self) -> dict[str, str]:
        return {"domain": self._platform.domain} if self._platform.domain else {}

    def _opened(self, sandbox: Sandbox) -> dict[str, Any]:
        """Return what create and connect answer.

        The token of envd is always in it, not only for secure sandboxes: behind one address for all of them it is all
        that tells whom the official SDK means after a connect.
        """
        traffic = {"trafficAccessToken": sandbox.traffic_token} if sandbox.traffic_token else {}
        alias = {"alias": sandbox.template.names[0]} if sandbox.template.names else {}
        return {
            "sandboxID": sandbox.sandbox_id,
            "clientID": CLIENT_ID,
            "templateID": sandbox.template.template_id,
            "envdVersion": sandbox.envd_version,
            "envdAccessToken": sandbox.envd_token,
            **traffic,
            **alias,
            **self._domain(),
        }


def checked(body: dict[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return a nested object whose fields are known and of the right types."""
    for name, value in body.items():
        if name not in fields or not fields[name](value):
            raise HTTPException(400, f"the field {name!r} is unknown or of the wrong type")
    return body


def metadata_filter(value: str) -> dict[str, str]:
    """Return the pairs that a sandbox must have: a query string inside of a parameter, with quoted names and values."""
    try:
        found = parse_qs(value, strict_parsing=True, keep_blank_values=True) if value else {}
    except ValueError:
        raise HTTPException(400, "the parameter 'metadata' cannot be read") from None
    return {unquote(name): unquote(values[-1]) for name, values in found.items()}


def key(sandbox: Sandbox) -> tuple[str, str]:
    return stamp(sandbox.started_at), sandbox.sandbox_id


def write_token(last: Sandbox) -> str:
    return base64.urlsafe_b64encode("|".join(key(last)).encode()).decode()


def read_token(token: str) -> tuple[str, str]:
    try:
        when, _, name = base64.urlsafe_b64decode(token).decode().partition("|")
    except (binascii.Error, UnicodeDecodeError):
        raise HTTPException(400, "the parameter 'nextToken' is invalid") from None
    return when, name
