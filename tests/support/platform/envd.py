"""envd, the daemon inside of a sandbox: processes over Connect RPC with JSON, health, and the way to the files."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from .files import FileEndpoints
from .processes import Event, Process
from .sandboxes import Sandbox

KEEPALIVE_SECONDS: Final = 90.0
STREAMING: Final = "application/connect+json"


def endpoint_of(method: str, path: str) -> str:
    """Return what the request log and the faults call a request to envd."""
    if path == "/files":
        return "files_write" if method == "POST" else "files_read"
    names = {"Start": "start", "List": "processes"}
    service, _, name = path.strip("/").partition("/")
    return names.get(name, name or service)


class RpcError(Exception):
    """A refused call: a code of the Connect protocol, and the status that goes with it."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


class Envd:
    """Answers for one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._answer(request)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        path = request.url.path
        if path == "/health":
            return Response(status_code=204)
        if path == "/files":
            return await FileEndpoints(self._sandbox).answer(request)
        if self._sandbox.options.secure and request.headers.get("x-access-token") != self._sandbox.envd_token:
            return JSONResponse(
                {"code": 401, "message": "unauthorized access, please provide a valid access token"}, 401
            )
        if request.method != "POST":
            return JSONResponse({"code": 405, "message": "method not allowed"}, 405)
        try:
            return await self._call(path, request)
        except RpcError as error:
            return JSONResponse({"code": error.code, "message": str(error)}, error.status)

    async def _call(self, path: str, request: Request) -> Response:
        service, _, name = path.strip("/").partition("/")
        if (service, name) == ("process.Process", "Start"):
            return self._events(self._start(await read_frame(request)), request)
        if request.headers.get("content-type", "").split(";")[0] != "application/json":
            raise RpcError("unknown", "the content type must be application/json", 415)
        if (service, name) == ("process.Process", "List"):
            running = [each for each in self._sandbox.processes.values() if not each.has_ended]
            return JSONResponse({"processes": [listed(each) for each in running]})
        raise RpcError("unimplemented", f"there is no {path}", 404)

    def _start(self, message: dict[str, Any]) -> Process:
        if "pty" in message:
            raise RpcError("unimplemented", "there are no terminals here", 501)
        if not message.get("process", {}).get("cmd"):
            raise RpcError("invalid_argument", "the command is missing", 400)
        try:
            return self._sandbox.start(message["process"], tag=message.get("tag"))
        except (OSError, ValueError) as error:
            raise RpcError("invalid_argument", f"error starting process: {error}", 400) from error

    def _events(self, process: Process, request: Request) -> Response:
        timeout_ms = request.headers.get("connect-timeout-ms")
        loop = asyncio.get_running_loop()
        if timeout_ms is not None:
            loop.call_later(int(timeout_ms) / 1000, process.pass_deadline)
        every = float(request.headers.get("keepalive-ping-interval", KEEPALIVE_SECONDS))
        return StreamingResponse(frames(process, process.listen(), every), media_type=STREAMING)


def listed(process: Process) -> dict[str, Any]:
    """Return a process as List shows it."""
    tag = {} if process.tag is None else {"tag": process.tag}
    return {"config": process.config, "pid": process.pid, **tag}


async def read_frame(request: Request) -> dict[str, Any]:
    """Return the one message of a streaming call.

    Raises:
        RpcError: It is not one frame of JSON.
    """
    if request.headers.get("content-type") != STREAMING:
        raise RpcError("unknown", f"the content type must be {STREAMING}", 415)
    body = await request.body()
    if len(body) < 5 or struct.unpack(">BI", body[:5]) != (0, len(body) - 5):
        raise RpcError("invalid_argument", "the body must be one uncompressed frame", 400)
    try:
        message = json.loads(body[5:])
    except ValueError:
        raise RpcError("invalid_argument", "the frame is not JSON", 400) from None
    if not isinstance(message, dict):
        raise RpcError("invalid_argument", "the frame is not an object", 400)
    return message


def frame(message: dict[str, Any], flags: int = 0) -> bytes:
    """Return a message in its envelope."""
    data = json.dumps(message).encode()
    return struct.pack(">BI", flags, len(data)) + data


async def frames(process: Process, queue: asyncio.Queue[Event], every: float) -> AsyncIterator[bytes]:
    """Yield what happens to a process, until it ends or the caller goes, which does not end it."""
    try:
        yield frame({"event": {"start": {"pid": process.pid}}})
        while True:
            try:
                event = await asyncio.wait_for(queue.get(), every)
            except TimeoutError:
                yield frame({"event": {"keepalive": {}}})
                continue
            if "end" in event and process.deadline_passed:
                error = {"code": "deadline_exceeded", "message": "context deadline exceeded"}
                yield frame({"error": error}, 2)
                return
            yield frame({"event": event})
            if "end" in event:
                yield frame({}, 2)
                return
    finally:
        process.forget(queue)
