"""The manifest as a file: where it is, and what it says."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ppio_agent_models import MANIFEST_FILE

from ._failures import UsageError
from ._output import screen

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
    """Return the manifest in a file, and warn about fields in it that mean nothing.

    Raises:
        ConfigurationError: It is no YAML, or a field is missing or wrong; the message names each one.
    """
    from ppio_agent_models import AgentManifest, ManifestDocument

    document = ManifestDocument.parse(read_text(path), source=path.name)
    for field in document.unknown_fields():
        screen.warn(f"{path.name}, line {field.line}: {field}")
    return AgentManifest.from_document(document)


def _shown(folder: Path) -> str:
    return "this folder" if folder.resolve() == Path.cwd() else str(folder)
