"""The manifest as a file: where it is, what it says, and on which line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ppio_agent_models import MANIFEST_FILE

from ._failures import UsageError

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest


def manifest_path(path: Path) -> Path:
    """Return the manifest that somebody means by a folder, or by the file itself.

    Raises:
        UsageError: There is none.
    """
    if not path.exists() and path.name != MANIFEST_FILE:
        raise UsageError(f"{path} does not exist.")
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
        return path.read_text(encoding="utf-8-sig")
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


def lines_of(text: str) -> dict[tuple[str, ...], int]:
    """Return the line, from 1, of every key in a document, by its path: `("spec", "entrypoint")`."""
    from ruamel.yaml import YAML

    found: dict[tuple[str, ...], int] = {(): 1}
    _collect(YAML().load(text), (), found)
    return found


def _collect(node: Any, path: tuple[str, ...], found: dict[tuple[str, ...], int]) -> None:
    if isinstance(node, dict):
        places: Any = getattr(node, "lc", None)
        for key, value in node.items():
            found[(*path, str(key))] = places.key(key)[0] + 1
            _collect(value, (*path, str(key)), found)


def _shown(folder: Path) -> str:
    return "this folder" if folder.resolve() == Path.cwd() else str(folder)
