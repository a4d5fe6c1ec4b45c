"""What is sent to the platform: the files that a Dockerfile copies, less what `.dockerignore` leaves out.

The official SDK compares `.dockerignore` patterns with paths in a way that leaves out nothing of `COPY . .`, so that
`.env` and `.venv` would travel. Here the files are chosen first and put into a folder of their own, and that folder is
sent: what was listed and what is sent are the same.
"""

from __future__ import annotations

import fnmatch
import hashlib
import os
import posixpath
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, NamedTuple

from ppio_agent_models import MANIFEST_FILE

IGNORE_FILE: Final = ".dockerignore"
DEFAULT_PATTERNS: Final = (
    "**/.git", "**/.hg", "**/.svn", "**/__pycache__", "**/.venv", "**/venv", "**/node_modules", "**/.tox", "**/.nox",
    "**/.mypy_cache", "**/.ruff_cache", "**/.pytest_cache", "**/.ipynb_checkpoints", "**/.DS_Store", "**/.env",
    "**/.env.*",
)  # fmt: skip
"""What is left out of a folder that has no `.dockerignore`: history, environments, caches, secrets."""


@dataclass(frozen=True, slots=True)
class ContextFile:
    """A file or a symbolic link of the folder.

    Attributes:
        path: Relative to the folder, with slashes.
        size: In bytes; 0 for a link.
        link: Where a link points to, relative to where it is.
    """

    path: str
    size: int
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a Dockerfile copies from a folder.

    Attributes:
        files: What is sent, by path.
        strays: Links that point out of the folder, and are not sent.
    """

    folder: Path
    files: tuple[ContextFile, ...]
    strays: tuple[str, ...]

    @property
    def size(self) -> int:
        """In bytes, before compression."""
        return sum(file.size for file in self.files)

    @property
    def secrets(self) -> list[str]:
        """The files that look like secrets by their names."""
        return [file.path for file in self.files if _looks_secret(file.path.rpartition("/")[2])]

    def with_file(self, path: str, size: int) -> Context:
        """Return it with a file that is sent in any case, of this size and whatever the folder has."""
        others = (file for file in self.files if file.path != path)
        return replace(self, files=tuple(sorted([*others, ContextFile(path, size)], key=lambda file: file.path)))

    def digest(self, *extra: str) -> str:
        """Return a hash of what is sent and of `extra`, such as the manifest, so that equal deployments are known."""
        total = hashlib.sha256("\0".join(extra).encode())
        for file in self.files:
            if file.path == MANIFEST_FILE:
                continue  # its status changes with each deployment; what is sent of it is in `extra`
            total.update(f"\0{file.path}\0{file.link or ''}\0".encode("utf-8", "surrogatepass"))
            if file.link is None:
                total.update(hashlib.sha256((self.folder / file.path).read_bytes()).digest())
        return total.hexdigest()[:32]

    def put_into(self, target: Path, manifest: str) -> None:
        """Copy the files into an empty folder, with `manifest` as the agent's manifest."""
        for file in self.files:
            if file.path == MANIFEST_FILE:
                continue
            copy = target / file.path
            copy.parent.mkdir(parents=True, exist_ok=True)
            if file.link is not None:
                copy.symlink_to(file.link)
            else:
                shutil.copyfile(self.folder / file.path, copy)
                copy.chmod(stat.S_IMODE((self.folder / file.path).stat().st_mode) | stat.S_IRUSR | stat.S_IWUSR)
        (target / MANIFEST_FILE).write_text(manifest, encoding="utf-8")
        (target / MANIFEST_FILE).chmod(0o644)


def collect(folder: Path, sources: Sequence[str]) -> Context:
    """Return what the sources of COPY instructions stand for in a folder."""
    rules = _core(folder)
    files, strays = [], []
    for file in _walk(folder, rules):
        if file.path == IGNORE_FILE or not any(_is_meant(file.path, source) for source in sources):
            continue
        if file.link is not None and _points_out(folder, file):
            strays.append(file.path)
        else:
            files.append(file)
    return Context(folder, tuple(sorted(files, key=lambda file: file.path)), tuple(sorted(strays)))


def unmatched(context: Context, sources: Sequence[str]) -> list[str]:
    """Return the sources that stand for no file: the platform refuses a COPY of nothing."""
    known = [file.path for file in context.files] + [MANIFEST_FILE]
    return [source for source in sources if not any(_is_meant(path, source) for path in known)]


def _core(folder: Path) -> IgnoreRules:
    try:
        text = (folder / IGNORE_FILE).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return IgnoreRules(DEFAULT_PATTERNS)
    return IgnoreRules(text.splitlines())


def _walk(folder: Path, rules: IgnoreRules, below: str = "") -> Iterator[ContextFile]:
    with os.scandir(folder / below) as entries:
        for entry in entries:
            path = f"{below}/{entry.name}" if below else entry.name
            if entry.is_dir(follow_symlinks=False):
                if not rules.leaves_out_all_of(path):
                    yield from _walk(folder, rules, path)
            elif rules.leaves_out(path):
                continue
            elif entry.is_symlink():
                yield ContextFile(path, 0, str(Path(entry.path).readlink()))
            elif entry.is_file(follow_symlinks=False):
                yield ContextFile(path, entry.stat().st_size)


def _is_meant(path: str, source: str) -> bool:
    source = os.path.normpath(source).replace(os.sep, "/")
    if source == ".":
        return True
    wanted = source.split("/")
    head = path.split("/")[: len(wanted)]
    return len(head) == len(wanted) and all(map(fnmatch.fnmatchcase, head, wanted))


def _points_out(folder: Path, file: ContextFile) -> bool:
    root = os.path.realpath(folder)
    pointed = os.path.realpath(folder / file.path)
    return Path(file.link or "").is_absolute() or os.path.commonpath((root, pointed)) != root


def _looks_secret(name: str) -> bool:
    if name.endswith((".example", ".sample", ".template")):
        return False
    return name == ".env" or name.startswith((".env.", "id_rsa", "id_ed25519")) or name.endswith((".pem", ".key"))


class _Rule(NamedTuple):
    pattern: str
    expression: re.Pattern[str]
    takes_back: bool


class IgnoreRules:
    """Which paths a `.dockerignore` leaves out, as Docker reads it.

    Patterns stand for paths below the folder, the last one that fits decides, `!` takes back, `**` is any number of
    folders, and what is below a path that is left out is left out too.
    https://docs.docker.com/build/concepts/context/#dockerignore-files

    Args:
        lines: The lines of the file.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._core = [rule for line in lines if (rule := _rule(line)) is not None]

    def leaves_out(self, path: str) -> bool:
        """Return whether a path, written with slashes and relative to the folder, is left out."""
        ways = _with_parents(path)
        left_out = False
        for rule in self._core:
            if rule.takes_back == left_out and any(rule.expression.fullmatch(way) for way in ways):
                left_out = not rule.takes_back
        return left_out

    def leaves_out_all_of(self, folder: str) -> bool:
        """Return whether nothing below a folder can be meant, so that it need not be looked into."""
        taken_back = (rule.pattern for rule in self._core if rule.takes_back)
        return self.leaves_out(folder) and not any(
            f"{pattern}/".startswith(f"{folder}/") or "*" in pattern.partition("/")[0] for pattern in taken_back
        )


def _rule(line: str) -> _Rule | None:
    if line.startswith("#"):
        return None
    text = line.strip()
    takes_back = text.startswith("!")
    text = text.removeprefix("!").strip()
    if not text:
        return None
    pattern = posixpath.normpath(text).lstrip("/")
    if pattern in {"", "."}:
        return None
    return _Rule(pattern, re.compile(_expression(pattern), re.DOTALL), takes_back)


def _expression(pattern: str) -> str:
    parts: list[str] = []
    at = 0
    while at < len(pattern):
        sign = pattern[at]
        at += 1
        if pattern.startswith("**", at - 1):
            at += 1
            if at < len(pattern) and pattern[at] == "/":
                at += 1
            parts.append("(?:.*/)?" if at < len(pattern) else ".*")
        elif sign == "*":
            parts.append("[^/]*")
        elif sign == "?":
            parts.append("[^/]")
        elif sign == "[" and (end := pattern.find("]", at + 1)) > 0:
            inside = pattern[at:end]
            negated = inside.startswith("^")
            parts.append(f"[{'^' if negated else ''}{_class(inside.removeprefix('^'))}]")
            at = end + 1
        elif sign == "\\" and at < len(pattern):
            parts.append(re.escape(pattern[at]))
            at += 1
        else:
            parts.append(re.escape(sign))
    return "".join(parts)


def _class(text: str) -> str:
    return re.sub(r"([\[\]^\\&~|])", r"\\\1", text)


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
