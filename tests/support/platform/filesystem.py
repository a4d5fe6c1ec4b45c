"""envd's filesystem calls: list, look, make, move and remove."""

from __future__ import annotations

import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from . import paths


class RpcError(Exception):
    """A refused call: a code of the Connect protocol, and the status that goes with it."""

    def __init__(self, code: str, message: str, status: int) -> None:
        super().__init__(message)
        self.code = code
        self.status = status


def filesystem(root: Path, name: str, message: dict[str, Any]) -> dict[str, Any]:
    """Answer a unary call.

    Raises:
        RpcError: The path is missing, or in the way, or not what it should be.
    """
    calls = {"ListDir": list_dir, "Stat": look, "MakeDir": make_dir, "Move": move, "Remove": remove}
    if name not in calls:
        raise RpcError("unimplemented", f"there is no {name}", 501)
    return calls[name](root, message)


def located(root: Path, path: str) -> Path:
    try:
        return paths.on_this_machine(root, path)
    except ValueError as error:
        raise RpcError("invalid_argument", str(error), 400) from error


def existing(root: Path, path: str) -> Path:
    found = located(root, path)
    if not found.exists() and not found.is_symlink():
        raise RpcError("not_found", f"path not found: {path}", 404)
    return found


def list_dir(root: Path, message: dict[str, Any]) -> dict[str, Any]:
    folder = existing(root, message.get("path", ""))
    if not folder.is_dir():
        raise RpcError("invalid_argument", f"path is not a directory: {message['path']}", 400)
    return {"entries": [entry(root, each) for each in below(folder, message.get("depth") or 1)]}


def below(folder: Path, depth: int) -> list[Path]:
    found = []
    for path in sorted(folder.iterdir()):
        found.append(path)
        if depth > 1 and path.is_dir() and not path.is_symlink():
            found += below(path, depth - 1)
    return found


def look(root: Path, message: dict[str, Any]) -> dict[str, Any]:
    return {"entry": entry(root, existing(root, message.get("path", "")))}


def make_dir(root: Path, message: dict[str, Any]) -> dict[str, Any]:
    folder = located(root, message.get("path", ""))
    if folder.exists():
        raise RpcError("already_exists", f"path already exists: {message['path']}", 409)
    folder.mkdir(parents=True)
    return {"entry": entry(root, folder)}


def move(root: Path, message: dict[str, Any]) -> dict[str, Any]:
    source, target = existing(root, message["source"]), located(root, message["destination"])
    target.parent.mkdir(parents=True, exist_ok=True)
    source.rename(target)
    return {"entry": entry(root, target)}


def remove(root: Path, message: dict[str, Any]) -> dict[str, Any]:
    path = located(root, message.get("path", ""))
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
    return {}


def entry(root: Path, path: Path) -> dict[str, Any]:
    """Return a path as protobuf's JSON has it."""
    facts = path.lstat()
    target = {"symlinkTarget": str(path.readlink())} if path.is_symlink() else {}
    return {
        "name": path.name,
        "type": "FILE_TYPE_DIRECTORY" if path.is_dir() else "FILE_TYPE_FILE",
        "path": paths.inside(root, path),
        "size": str(facts.st_size),
        "mode": stat.S_IMODE(facts.st_mode),
        "permissions": stat.filemode(facts.st_mode),
        "owner": "user",
        "group": "user",
        "modifiedTime": datetime.fromtimestamp(int(facts.st_mtime), UTC).isoformat().replace("+00:00", "Z"),
        **target,
    }
