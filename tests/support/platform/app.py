"""The platform as one ASGI application: control plane, envd and agents behind one address."""

from __future__ import annotations

import re
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.routing import Match, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .agents import AgentProxy, refuse
from .auth import Keys
from .builds import BuildEndpoints
from .control import SandboxEndpoints
from .envd import Envd, endpoint_of
from .faults import Faults, with_fault
from .request_log import KEPT_BYTES, Call, RequestLog
from .sandboxes import Sandboxes
from .templates import Template, TemplateEndpoints, Templates
from .validation import error_response

ENVD_PORT: Final = 49983
API_KEY: Final = "sk_emulator_0123456789"
_HOST: Final = re.compile(r"(\d{2,5})-([a-z0-9-]+)\.")


class Platform:
    """An emulator of the PPIO platform.

    Args:
        folder: Where sandboxes and templates have their files.
        legacy: Speak as the default domain does (`sandbox.ppio.cn`): other bodies, `<id>-<clientID>`, no builds.
        domain: What answers say about where sandboxes are; nothing when None.
        pairs: Key ids and secrets for signed requests.
        run_steps: Execute the RUN steps of builds.

    Attributes:
        log: All requests that came in.
        faults: What goes wrong next.
    """

    def __init__(
        self,
        folder: Path,
        *,
        legacy: bool = False,
        domain: str | None = None,
        api_keys: set[str] | None = None,
        pairs: Mapping[str, str] | None = None,
        max_sandboxes: int = 10_000,
        max_seconds: int = 86_400,
        envd_version: str | None = None,
        run_steps: bool = False,
    ) -> None:
        self.folder = folder
        self.legacy = legacy
        self.domain = domain
        self.run_steps = run_steps
        self.keys = Keys({API_KEY} if api_keys is None else api_keys, dict(pairs or {}))
        self.log = RequestLog()
        self.faults = Faults()
        self.templates = Templates()
        self.sandboxes = Sandboxes(
            folder / "sandboxes",
            legacy=legacy,
            most=max_sandboxes,
            longest_seconds=max_seconds,
            envd_version=envd_version or ("0.2.4" if legacy else "0.5.8"),
        )
        builds = BuildEndpoints(self)
        self._open_routes = builds.open_routes()
        self._routes = [*SandboxEndpoints(self).routes(), *TemplateEndpoints(self).routes(), *builds.routes()]
        self._proxy = AgentProxy(self.sandboxes)

    def add_template(
        self,
        template_id: str,
        source: Path | None = None,
        *,
        agent: ASGIApp | None = None,
        name: str | None = None,
        metadata: dict[str, str] | None = None,
        start_cmd: str = "",
        environment: dict[str, str] | None = None,
    ) -> Template:
        """Add a template.

        Args:
            source: What its sandboxes find in `/app`.
            agent: Answers on port 8080 in this process; such sandboxes cost next to nothing.
            metadata: As the platform keeps it; the vendor's CLI puts the manifest into `agent_runtime`, as JSON.
            start_cmd: Runs in every sandbox from the start.
        """
        root = None
        if source is not None:
            root = self.folder / "templates" / template_id
            shutil.copytree(source, root / "app", symlinks=True)
        template = Template(
            template_id,
            root,
            agent,
            [name] if name else [],
            metadata,
            start_cmd,
            environment=environment or {},
            workdir="/app" if start_cmd else "/home/user",
        )
        return self.templates.add(template)

    async def close(self) -> None:
        """End all sandboxes."""
        await self.sandboxes.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, and write it down."""
        call, app = self._destination(scope)
        self.log.append(call)

        async def hear() -> Message:
            message = await receive()
            if message["type"] == "http.request" and len(call.body) < KEPT_BYTES:
                call.body += message.get("body", b"")
            return message

        async def say(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
            await send(message)

        fault = self.faults.take(call.endpoint)
        if fault is None:
            await app(scope, hear, say)
            return
        connection = send.__self__.transport  # type: ignore[attr-defined]  # a method of uvicorn's own cycle
        await with_fault(fault, app, scope, hear, say, connection)

    def _destination(self, scope: Scope) -> tuple[Call, ASGIApp]:
        headers = Headers(scope=scope)
        method, path = scope["method"], scope["path"]

        def call(target: str, endpoint: str, sandbox_id: str | None) -> Call:
            query = scope["query_string"].decode()
            return Call(target, endpoint, sandbox_id, method, path, query, dict(headers))  # type: ignore[arg-type]

        name, port = self._addressed(headers)
        if name is None:
            route = self._route(scope)
            label = route.name if route is not None else path
            return call("control", label, scope.get("path_params", {}).get("id")), self._control(route)
        if port != ENVD_PORT:

            async def agent(scope: Scope, receive: Receive, send: Send) -> None:
                await self._proxy(name, port, scope, receive, send)

            return call("agent", "agent" + path, name), agent
        sandbox = self.sandboxes.get(name)
        is_there = sandbox is not None and sandbox.state == "running"
        return call("envd", endpoint_of(method, path), name), Envd(sandbox) if sandbox and is_there else gone

    def _addressed(self, headers: Headers) -> tuple[str | None, int]:
        """Return the sandbox and port that a request is for; None for the control plane."""
        if name := headers.get("ppio-sandbox-id"):
            port = headers.get("ppio-sandbox-port", "")
            return name, int(port) if port.isdigit() else 0
        if found := _HOST.match(headers.get("host", "")):
            return found[2], int(found[1])
        if (token := headers.get("x-access-token")) and (name := self.sandboxes.by_token(token)):
            return name, ENVD_PORT
        return None, 0

    def _route(self, scope: Scope) -> Route | None:
        for route in (*self._routes, *self._open_routes):
            match, child = route.matches(scope)
            if match is Match.FULL:
                scope.update(child)
                return route
        return None

    def _control(self, route: Route | None) -> ASGIApp:
        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            request = Request(scope, receive)
            try:
                if route not in self._open_routes:
                    await self.keys.authenticate(request)
                if route is None:
                    raise HTTPException(404, f"there is no {request.method} {request.url.path} here")
                response = await route.endpoint(request)
            except HTTPException as error:
                response = error_response(error)
            response.headers["x-request-id"] = f"req-{uuid.uuid4()}"
            await response(scope, receive, send)

        return answer


async def gone(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer for a sandbox that is not there, or sleeps."""
    await refuse(502, {"message": "The sandbox was not found"}, scope, receive, send)
