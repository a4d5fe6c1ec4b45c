"""envd's files over plain HTTP: read one, write one or several."""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response

from . import paths
from .sandboxes import Sandbox
from .validation import error_response

_DISPOSITION: Final = re.compile(rb'(\w+)="([^"]*)"')


class FileEndpoints:
    """The files of one sandbox."""

    def __init__(self, sandbox: Sandbox) -> None:
        self._sandbox = sandbox

    async def answer(self, request: Request) -> Response:
        try:
            if self._sandbox.options.secure and request.headers.get("x-access-token") != self._sandbox.envd_token:
                raise HTTPException(401, "missing access token, or a wrong one")
            if request.method == "GET":
                return self._read(request.query_params.get("path", ""))
            return JSONResponse([self._write(path, data) for path, data in await self._uploaded(request)])
        except ValueError as error:
            return error_response(HTTPException(400, str(error)))
        except HTTPException as error:
            return error_response(error)

    def _read(self, path: str) -> Response:
        file = paths.on_this_machine(self._sandbox.root, path)
        if not file.exists():
            raise HTTPException(404, f"path '{path}' does not exist")
        if file.is_dir():
            raise HTTPException(400, f"path '{path}' is a directory")
        return FileResponse(file)

    def _write(self, path: str, data: bytes) -> dict[str, Any]:
        file = paths.on_this_machine(self._sandbox.root, path)
        if file.is_dir():
            raise HTTPException(400, f"path '{path}' is a directory")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(data)
        return {"name": file.name, "type": "file", "path": paths.inside(self._sandbox.root, file)}

    async def _uploaded(self, request: Request) -> list[tuple[str, bytes]]:
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        kind = request.headers.get("content-type", "")
        named = request.query_params.get("path")
        if kind == "application/octet-stream":
            if named is None:
                raise HTTPException(400, "the parameter 'path' is missing")
            return [(named, body)]
        if not kind.startswith("multipart/form-data; boundary="):
            raise HTTPException(400, "the body must be multipart/form-data or application/octet-stream")
        return [(named or name, data) for name, data in parts(body, kind.partition("boundary=")[2].strip('"').encode())]


def parts(body: bytes, boundary: bytes) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a multipart body, with the names that they were given."""
    for part in body.split(b"--" + boundary)[1:-1]:
        head, _, data = part.partition(b"\r\n\r\n")
        fields = dict(_DISPOSITION.findall(head))
        if fields.get(b"name") == b"file":
            yield fields[b"filename"].decode(), data.removesuffix(b"\r\n")
