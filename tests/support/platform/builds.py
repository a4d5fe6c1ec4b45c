"""Building templates, version 3: a name, the files, the steps, and a job that runs them and is asked how it goes."""

from __future__ import annotations

import asyncio
import io
import re
import secrets
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from . import paths
from .templates import Build, Template, now
from .validation import body_of, flag, listing, mapping, seconds, text, texts

if TYPE_CHECKING:
    from .app import Platform

FAILS: Final = "this-step-fails"
"""A step with this text in one of its arguments fails."""
_NOT_HERE: Final = ("pip install", "apt-get", "/etc/")
"""Commands with these words would change this machine, or need the network."""

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]*(:[\w.-]+)?")
_STEPS: Final = {"RUN", "COPY", "ENV", "WORKDIR", "USER"}
_REQUEST: Final = {
    "name": text,
    "alias": text,
    "tags": texts,
    "cpuCount": seconds,
    "memoryMB": seconds,
    "teamID": text,
}
_START: Final = {
    "fromImage": text,
    "fromTemplate": text,
    "fromImageRegistry": mapping,
    "startCmd": text,
    "readyCmd": text,
    "steps": listing,
    "force": flag,
    "preBootScript": text,
}
_STEP: Final[dict[str, Callable[[object], bool]]] = {
    "type": text,
    "args": texts,
    "force": flag,
    "filesHash": text,
    "forceUpload": flag,
}


class BuildEndpoints:
    """The endpoints of builds. None of them is there on the legacy platform."""

    def __init__(self, platform: Platform) -> None:
        self._platform = platform
        self._uploads: dict[str, str] = {}
        self._files: dict[str, bytes] = {}
        self._jobs: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        """Return the routes; their names are what the request log and the faults call them."""
        if self._platform.legacy:
            return []
        one = "/templates/{id}/builds/{build}"
        return [
            Route("/v3/templates", self.request, name="build", methods=["POST"]),
            Route("/templates/{id}/files/{hash}", self.upload_place, name="build_files", methods=["GET"]),
            Route(f"/v2{one}", self.start, name="build_start", methods=["POST"]),
            Route(f"{one}/status", self.status, name="build_status", methods=["GET"]),
            Route(f"{one}/logs", self.logs, name="build_logs", methods=["GET"]),
        ]

    def open_routes(self) -> list[Route]:
        """Return the routes that need no key: a place to put files is a secret of its own."""
        return [Route("/uploads/{place}", self.upload, name="upload", methods=["PUT"])]

    async def request(self, request: Request) -> Response:
        body = await body_of(request, optional=_REQUEST)
        full = body.get("name") or body.get("alias") or ""
        if not _NAME.fullmatch(full):
            raise HTTPException(
                400, f"the name {full!r} must be of a-z, 0-9, '-' and '_', with ':' and a tag or without"
            )
        name, _, tag = full.partition(":")
        try:
            template = self._platform.templates.find(name)
        except HTTPException:
            template = Template(self._platform.templates.new_id(), names=[name])
        cpu, memory = body.get("cpuCount", 2), body.get("memoryMB", 1024)
        if not 1 <= cpu <= 8 or memory % 2 or not 512 <= memory <= 8192:
            raise HTTPException(400, f"{cpu} CPUs with {memory} MB are not to be had: 1 to 8, and 512 to 8192 MB, even")
        self._platform.templates.add(template)
        build = Build(cpu_count=cpu, memory_mb=memory)
        template.builds.append(build)
        tags = [*([tag] if tag else []), *body.get("tags", [])] or ["default"]
        template.tags |= dict.fromkeys(tags, build.build_id)
        answer = {
            "templateID": template.template_id,
            "buildID": build.build_id,
            "names": template.names,
            "aliases": template.names,
            "tags": tags,
            "public": template.public,
        }
        return JSONResponse(answer, 202)

    async def upload_place(self, request: Request) -> Response:
        self._platform.templates.find(request.path_params["id"])
        digest = request.path_params["hash"]
        place = secrets.token_hex(16)
        self._uploads[place] = digest
        return JSONResponse({"present": digest in self._files, "url": f"{request.base_url}uploads/{place}"}, 201)

    async def upload(self, request: Request) -> Response:
        digest = self._uploads.pop(request.path_params["place"], None)
        if digest is None:
            raise HTTPException(403, "this place to upload to was used already, or never existed")
        self._files[digest] = await request.body()
        return Response(status_code=200)

    async def start(self, request: Request) -> Response:
        template, build = self._named(request)
        body = await body_of(request, optional=_START)
        if build.status != "waiting":
            raise HTTPException(400, "the build has been started already")
        if ("fromImage" in body) == ("fromTemplate" in body):
            raise HTTPException(400, "exactly one of the fields 'fromImage', 'fromTemplate' is needed")
        for step in body.get("steps", []):
            if not mapping(step):
                raise HTTPException(400, "a step must be an object")
            self._check_step(step)
        build.status = "building"
        job = asyncio.create_task(self._run(template, build, body))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return Response(status_code=202)

    def _check_step(self, step: dict[str, Any]) -> None:
        if step.get("type") not in _STEPS:
            raise HTTPException(400, f"the type of a step must be one of {sorted(_STEPS)}")
        for name, value in step.items():
            if name not in _STEP or (value is not None and not _STEP[name](value)):
                raise HTTPException(400, f"the field {name!r} of a step is unknown or of the wrong type")
        if step["type"] == "COPY" and step.get("filesHash") not in self._files:
            raise HTTPException(400, "the files of a COPY step were not uploaded")

    async def _run(self, template: Template, build: Build, body: dict[str, Any]) -> None:
        base = body.get("fromTemplate")
        root = self._platform.folder / "templates" / build.build_id
        steps = Steps(root, self._files, build, run=self._platform.run_steps)
        try:
            build.log(f"building from {base or body['fromImage']}")
            await asyncio.to_thread(steps.begin, self._platform.templates.find(base).root if base else None)
            for number, step in enumerate(body.get("steps", []), 1):
                build.steps.append(step)
                await asyncio.to_thread(steps.take, number, step)
        except (BuildError, HTTPException) as error:
            build.fail(str(error), str(len(build.steps)))
            return
        template.root, template.environment, template.workdir = root, steps.environment, steps.workdir
        template.start_cmd, template.ready_cmd = body.get("startCmd", ""), body.get("readyCmd", "")
        template.cpu_count, template.memory_mb, template.updated_at = build.cpu_count, build.memory_mb, now()
        build.log("build finished")
        build.status = "ready"

    async def status(self, request: Request) -> Response:
        template, build = self._named(request)
        offset = int(request.query_params.get("logsOffset", "0"))
        entries = build.logs[offset : offset + int(request.query_params.get("limit", "100"))]
        body = {
            "templateID": template.template_id,
            "buildID": build.build_id,
            "status": build.status,
            "logEntries": entries,
            "logs": [entry["message"] for entry in entries],
        }
        return JSONResponse(body | ({"reason": build.reason} if build.reason else {}))

    async def logs(self, request: Request) -> Response:
        return JSONResponse({"logs": self._named(request)[1].logs})

    def _named(self, request: Request) -> tuple[Template, Build]:
        template = self._platform.templates.find(request.path_params["id"])
        for build in template.builds:
            if build.build_id == request.path_params["build"]:
                return template, build
        raise HTTPException(404, f"there is no build '{request.path_params['build']}'")


class BuildError(Exception):
    """A step that failed."""


class Steps:
    """A folder that becomes a template's `/`.

    Args:
        run: Execute RUN steps, apart from those that install packages; otherwise they are only written down.
    """

    def __init__(self, root: Path, files: dict[str, bytes], build: Build, *, run: bool) -> None:
        self._root = root
        self._files = files
        self._build = build
        self._runs = run
        self.environment: dict[str, str] = {}
        self.workdir = "/home/user"

    def begin(self, base: Path | None) -> None:
        """Start from another template's files, or from none."""
        if base is not None:
            shutil.copytree(base, self._root, symlinks=True)
        (self._root / "home/user").mkdir(parents=True, exist_ok=True)

    def take(self, number: int, step: dict[str, Any]) -> None:
        """Take one.

        Raises:
            BuildError: It failed; the log has the reason.
        """
        kind, arguments = step["type"], step.get("args") or []
        self._build.log(f"[{number}] {kind} {' '.join(arguments)}", step=str(number))
        if any(FAILS in each for each in arguments):
            self._build.log("ERROR: the emulator was told to let this step fail", level="error", step=str(number))
            raise BuildError(f"failed to run command '{arguments[0]}': exit status 1")
        match kind:
            case "COPY":
                self._copy(arguments[0], arguments[1], self._files[step["filesHash"]])
            case "WORKDIR":
                self.workdir = self._absolute(arguments[0])
                paths.on_this_machine(self._root, self.workdir).mkdir(parents=True, exist_ok=True)
            case "ENV":
                self.environment |= dict(zip(arguments[::2], arguments[1::2], strict=True))
            case "RUN":
                self._run(arguments[0])

    def _absolute(self, path: str) -> str:
        return str(PurePosixPath(self.workdir, path))

    def _copy(self, source: str, target: str, archive: bytes) -> None:
        to = paths.on_this_machine(self._root, self._absolute(target))
        with tempfile.TemporaryDirectory() as name:
            context = Path(name)
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
                tar.extractall(context, filter="data")
            found = [context] if source in {".", "./"} else sorted(context.glob(source))
            if not found:
                raise BuildError(f"COPY failed: there is no {source!r} in the files")
            for each in found:
                if each.is_dir():
                    shutil.copytree(each, to, symlinks=True, dirs_exist_ok=True)
                    continue
                place = to / each.name if target.endswith(("/", ".")) or to.is_dir() or len(found) > 1 else to
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(each, place)

    def _run(self, line: str) -> None:
        if not self._runs or any(word in line for word in _NOT_HERE):
            return
        folder = paths.on_this_machine(self._root, self.workdir)
        command = ["/bin/bash", "-c", paths.command(self._root, line)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
        for printed in (done.stdout + done.stderr).splitlines():
            self._build.log(printed)
        if done.returncode:
            raise BuildError(f"failed to run command '{line}': exit status {done.returncode}")
