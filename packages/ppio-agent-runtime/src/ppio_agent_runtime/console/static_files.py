"""Serves the files of a page: cached until they change, with `ETag`, compression and a Content-Security-Policy."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ..http.request import by_name, quality

if TYPE_CHECKING:
    from ..asgi import Headers, Scope, Send

SAFE_HEADERS: Final[Headers] = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
]
_MEDIA_TYPES: Final = {
    ".css": b"text/css; charset=utf-8",
    ".html": b"text/html; charset=utf-8",
    ".js": b"text/javascript; charset=utf-8",
    ".json": b"application/json",
    ".mjs": b"text/javascript; charset=utf-8",
    ".svg": b"image/svg+xml",
    "": b"text/plain; charset=utf-8",  # the licences
}
_PATH: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
"""No part begins with a dot, so a path can't leave the folder."""
_IMPORT_MAP: Final = re.compile(rb'<script type="importmap">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class StaticFile:
    """One file as it is sent.

    Attributes:
        version: Changes with the file: modification time in nanoseconds, size in bytes.
        tag: Digest of the content.
        headers: The headers that do not depend on the request.
    """

    version: tuple[int, int]
    content: bytes
    compressed: bytes
    tag: str
    headers: Headers


class StaticFiles:
    """The files of some folders.

    Args:
        folders: Searched in this order.
        policy: The Content-Security-Policy; `{hashes}` is replaced by the hashes of a page's import maps.
    """

    def __init__(self, folders: Sequence[Path], policy: str) -> None:
        self._folders = folders
        self._policy = policy
        self._files: dict[str, StaticFile] = {}

    async def find(self, name: str) -> StaticFile | None:
        """Return a file by its path below a folder, or None if there is none."""
        suffix = Path(name).suffix if name.rpartition("/")[2] != "LICENSE" else ""
        if not _PATH.fullmatch(name) or suffix not in _MEDIA_TYPES:
            return None
        return await asyncio.get_running_loop().run_in_executor(None, self._read, name, _MEDIA_TYPES[suffix])

    def _read(self, name: str, media_type: bytes) -> StaticFile | None:
        """Return a file, from memory unless it changed since it was read."""
        path = next((folder / name for folder in self._folders if (folder / name).is_file()), None)
        if path is None:
            return None
        stat = path.stat()
        version = (stat.st_mtime_ns, stat.st_size)
        known = self._files.get(name)
        if known is not None and known.version == version:
            return known
        content = path.read_bytes()
        policy = b"content-security-policy", self._policy_for(content if path.suffix == ".html" else b"")
        headers = [(b"content-type", media_type), (b"cache-control", b"no-cache"), policy, *SAFE_HEADERS]
        tag = hashlib.sha256(content).hexdigest()[:32]
        self._files[name] = file = StaticFile(version, content, gzip.compress(content, 9, mtime=0), tag, headers)
        return file

    def _policy_for(self, html: bytes) -> bytes:
        """Return the policy with the hashes of the import maps in `html`.

        An import map resolves `import "preact"` in a vendored file to the file beside it (HTML standard, 8.1.5.3).
        """
        digests = [base64.b64encode(hashlib.sha256(found).digest()).decode() for found in _IMPORT_MAP.findall(html)]
        return self._policy.format(hashes="".join(f" 'sha256-{digest}'" for digest in digests)).encode()


async def send_file(scope: Scope, send: Send, file: StaticFile, vary: bytes) -> None:
    """Send a file, compressed if the caller accepts that; 304 if the caller has it (RFC 9110, section 13.1.2)."""
    found = by_name(scope["headers"])
    compresses = quality(found.get(b"accept-encoding", b""), "gzip") > 0 and len(file.compressed) < len(file.content)
    tag = f'"{file.tag}{"-gzip" if compresses else ""}"'.encode()
    headers: Headers = [*file.headers, (b"etag", tag), (b"vary", vary)]
    held = [each.strip().removeprefix(b"W/") for each in found.get(b"if-none-match", b"").split(b",")]
    if tag in held:
        return await send_answer(send, 304, headers)
    if compresses:
        headers.append((b"content-encoding", b"gzip"))
    body = file.compressed if compresses else file.content
    headers.append((b"content-length", b"%d" % len(body)))
    await send_answer(send, 200, headers, b"" if scope["method"] == "HEAD" else body)


async def send_answer(send: Send, status: int, headers: Headers, body: bytes = b"") -> None:
    """Send a complete response."""
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
