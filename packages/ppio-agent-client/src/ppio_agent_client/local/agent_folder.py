"""Reads and copies an agent's folder."""

from __future__ import annotations

import logging
import os
import re
import shutil
import stat
from dataclasses import dataclass, field
from typing import Any

from ppio_agent_models import MANIFEST_FILE, ConfigurationError, PPIOAgentRuntimeError

ENTRYPOINTS = ("main.py", "app.py", "agent.py")
"""Entrypoints of an agent without a manifest; the first one that exists is used."""
START_TIMEOUT_SECONDS = 60.0
"""How long an agent without a manifest may take until `/ping` answers."""
NAME_RULE = "1 to 63 lower-case letters, digits and inner hyphens"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
logger: logging.Logger = logging.getLogger("ppio_agent_client")
manifest_logger: logging.Logger = logging.getLogger("ppio_agent_client.manifest")
"""A separate logger, so that a caller that already reported the same can silence it."""
SKIPPED = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".tox", ".nox", ".hatch",
        ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".ipynb_checkpoints", ".DS_Store",
    }
)  # fmt: skip
"""Names that are never copied: history, environments, caches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentFolder:
    """The facts about an agent's folder.

    Attributes:
        name: From the manifest; None without one.
        entrypoint: The argument for the runtime.
        about: Version, description, author, tags and protocols, if the manifest has them.
        python: The interpreter that it was deployed with; None for the default.
        unknown: A warning for each unknown field of the manifest.
    """

    folder: str
    name: str | None = None
    entrypoint: str
    env_vars: dict[str, str] = field(default_factory=dict, repr=False)
    start_timeout_seconds: float = START_TIMEOUT_SECONDS
    about: dict[str, Any] = field(default_factory=dict)
    python: str | None = None
    unknown: tuple[str, ...] = ()

    def warn(self) -> None:
        """Log a warning for each unknown field of the manifest."""
        for problem in self.unknown:
            manifest_logger.warning("%s", problem)


def read_agent_folder(folder: str, no_agent: type[PPIOAgentRuntimeError] = ConfigurationError) -> AgentFolder:
    """Return the facts about a folder.

    Raises:
        PPIOAgentRuntimeError: Of the class `no_agent`: there is no such folder, or no agent in it.
        ConfigurationError: The manifest is wrong, or names a file that does not exist.
    """
    if not os.path.isdir(folder):
        raise no_agent(f"there is no folder {folder!r}, where an agent should be")
    path = os.path.join(folder, MANIFEST_FILE)
    try:
        with open(path, encoding="utf-8-sig") as file:
            text = file.read()
    except FileNotFoundError:
        for name in ENTRYPOINTS:
            if os.path.isfile(os.path.join(folder, name)):
                return AgentFolder(folder=folder, entrypoint=name)
        files = f"{', '.join((MANIFEST_FILE, *ENTRYPOINTS[:-1]))} and {ENTRYPOINTS[-1]}"
        raise no_agent(f"there is no agent in the folder {folder!r}: looked for {files}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"the manifest {path!r} cannot be read: {error}") from error
    return _from_manifest(folder, path, text)


def is_name(text: str) -> bool:
    """Return whether a template may have this name; the rule is the manifest's."""
    return _NAME.fullmatch(text) is not None


def _from_manifest(folder: str, path: str, text: str) -> AgentFolder:
    # Imports pydantic, which folders without a manifest don't need.
    from ppio_agent_models import AgentManifest, ManifestDocument

    document = ManifestDocument.parse(text, source=repr(path))
    manifest = AgentManifest.from_document(document)
    entrypoint = manifest.spec.entrypoint
    if entrypoint.endswith(".py") and not os.path.isfile(os.path.join(folder, entrypoint)):
        raise ConfigurationError(f"{path!r} names the entrypoint {entrypoint!r}, which is not a file in {folder!r}")
    about = manifest.metadata
    return AgentFolder(
        folder=folder,
        name=about.name,
        entrypoint=entrypoint,
        env_vars=manifest.spec.variables,
        start_timeout_seconds=float(manifest.spec.runtime.timeout),
        unknown=tuple(f"{path}, line {field.line}: {field}" for field in document.unknown_fields()),
        about={
            "version": about.version,
            "description": about.description,
            "author": about.author,
            "tags": about.tags,
            "protocols": manifest.spec.protocols,
        },
    )


def copy_folder(source: str, target: str, *, without: str) -> None:
    """Copy the folder `source` to the new folder `target`, writable for its owner.

    Symbolic links within the folder become relative links. Links that point out of it, sockets and devices are not
    copied; the links are logged. The folder `without` is not copied either: the home may be within the agent's folder.
    """
    strays: list[str] = []
    _copy(source, target, root=os.path.realpath(source), without=os.path.realpath(without), strays=strays)
    if strays:
        logger.warning(
            "links in %r that point out of the folder were not copied: %s", source, ", ".join(sorted(strays))
        )


def _copy(source: str, target: str, *, root: str, without: str, strays: list[str]) -> None:
    os.mkdir(target, 0o700)
    with os.scandir(source) as entries:
        for entry in entries:
            if entry.name in SKIPPED:
                continue
            copied = os.path.join(target, entry.name)
            if entry.is_symlink():
                if not _copy_link(entry.path, copied, root):
                    strays.append(os.path.relpath(os.path.join(os.path.realpath(source), entry.name), root))
            elif entry.is_dir():
                if os.path.realpath(entry.path) != without:
                    _copy(entry.path, copied, root=root, without=without, strays=strays)
            elif entry.is_file():
                shutil.copyfile(entry.path, copied)
                os.chmod(copied, stat.S_IMODE(entry.stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)


def _copy_link(source: str, target: str, root: str) -> bool:
    """Copy a symbolic link that stays within `root`; return False for one that does not."""
    folder = os.path.realpath(os.path.dirname(source))
    pointed = os.path.realpath(source)
    if os.path.commonpath((root, pointed)) != root:
        return False
    os.symlink(os.path.relpath(pointed, folder), target)
    return True
