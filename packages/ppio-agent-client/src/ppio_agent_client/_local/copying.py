"""Copies an agent's folder: what an agent needs, and nothing that points out of it."""

from __future__ import annotations

import logging
import os
import shutil
import stat

logger = logging.getLogger("ppio_agent_client")

SKIPPED = frozenset(
    {
        ".git", ".hg", ".svn", "__pycache__", ".venv", "venv", "node_modules", ".tox", ".nox", ".hatch",
        ".mypy_cache", ".ruff_cache", ".pytest_cache", ".hypothesis", ".ipynb_checkpoints", ".DS_Store",
    }
)  # fmt: skip
"""Names that are left out wherever they stand: history, environments, caches."""


def copy_folder(source: str, target: str, *, without: str) -> None:
    """Copy the folder `source` to the new folder `target`, which its owner may write into.

    Symbolic links within the folder stay links, relative ones. Links that point out of it, sockets and devices are left
    out; the links are named in a warning.

    The folder `without` is left out too: the home may lie within the agent's folder.
    """
    strays: list[str] = []
    _copy(source, target, root=os.path.realpath(source), without=os.path.realpath(without), strays=strays)
    if strays:
        logger.warning(
            "left out of the copy of %r because they point out of the folder: %s", source, ", ".join(sorted(strays))
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
