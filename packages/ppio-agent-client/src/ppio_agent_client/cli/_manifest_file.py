"""The manifest as a file that people write and tools add to: comments, order and quotes stay as they are."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import MANIFEST_FILE

from ._failures import CommandError, UsageError

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest

_NEVER_WRAP: Final = 2**30
"""Columns: the runtime's own reader knows no values over several lines."""


def manifest_path(path: Path) -> Path:
    """Return the manifest that somebody means by a folder, or by the file itself.

    Raises:
        UsageError: There is none.
    """
    found = path / MANIFEST_FILE if path.is_dir() else path
    if not found.is_file():
        raise UsageError(f"There is no {MANIFEST_FILE} in {_shown(found.parent)}.", hint="Make one: ppio-agent init")
    return found


def read_text(path: Path) -> str:
    """Return what is in a file of the agent.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not UTF-8: byte {error.start} is 0x{error.object[error.start]:02x}.") from error
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}.") from error


def read_manifest(path: Path) -> AgentManifest:
    """Return the manifest in a file.

    Raises:
        ConfigurationError: A field is missing or wrong; the message names each one.
    """
    from ppio_agent_models import AgentManifest

    return AgentManifest.from_yaml(read_text(path), source=path.name)


def update_status(path: Path, status: Mapping[str, object]) -> None:
    """Set fields of the manifest's `status`, which belongs to tools, and leave everything else as it is written.

    Args:
        path: The file.
        status: Field names to values; None takes a field away.

    Raises:
        CommandError: The file cannot be written.
    """
    from ruamel.yaml.comments import CommentedMap

    yaml = _yaml()
    document = yaml.load(read_text(path))
    if not isinstance(document.get("status"), CommentedMap):
        document["status"] = CommentedMap()
    for name, value in status.items():
        if value is None:
            document["status"].pop(name, None)
        else:
            document["status"][name] = _on_one_line(value)
    text = io.StringIO()
    yaml.dump(document, text)
    _replace(path, text.getvalue())


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Return the line, from 1, of every key in a document, by its path: `("spec", "entrypoint")`."""
    found: dict[tuple[str, ...], int] = {(): 1}
    _collect(_yaml().load(text), (), found)
    return found


def _collect(node: Any, path: tuple[str, ...], found: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, dict):
        places: Any = getattr(node, "lc", None)
        for key, value in node.items():
            found[(*path, str(key))] = places.key(key)[0] + 1
            _collect(value, (*path, str(key)), found)


def _yaml() -> Any:
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = _NEVER_WRAP
    yaml.allow_unicode = True
    return yaml


def _on_one_line(value: object) -> object:
    from ruamel.yaml.scalarstring import DoubleQuotedScalarString

    return DoubleQuotedScalarString(value) if isinstance(value, str) and "\n" in value else value


def _replace(path: Path, text: str) -> None:
    """Write a file so that there is always a whole one."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        beside.write_text(text, encoding="utf-8", newline="\n")
        beside.replace(path)
    except OSError as error:
        raise CommandError(f"{path} cannot be written: {error.strerror or error}.") from error
    finally:
        beside.unlink(missing_ok=True)


def _shown(folder: Path) -> str:
    return "this folder" if folder.resolve() == Path.cwd() else str(folder)
