"""What is sent to the platform: the files that a Dockerfile copies, without those that `.dockerignore` excludes.

The official SDK matches `.dockerignore` patterns in a way that excludes nothing from `COPY . .`, so it would send
`.env` and `.venv`. Here the files are selected first and copied into their own folder, and that folder is sent: exactly
what was listed.
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

from ppio_agent_models import MANIFEST_FILE, ConfigurationError

from ..messages import tr
from ..project import read_text

IGNORE_FILE: Final = ".dockerignore"
DEFAULT_PATTERNS: Final = (
    "**/.git", "**/.hg", "**/.svn", "**/__pycache__", "**/.venv", "**/venv", "**/node_modules", "**/.tox", "**/.nox",
    "**/.mypy_cache", "**/.ruff_cache", "**/.pytest_cache", "**/.ipynb_checkpoints", "**/.DS_Store", "**/.env",
    "**/.env.*", "**/.aws", "**/.ssh", "**/.gnupg", "**/.netrc", "**/.npmrc", "**/.pypirc", "**/.git-credentials",
    "**/*.pem", "**/*.key",
)  # fmt: skip
"""What is excluded from a folder that has no `.dockerignore`: history, environments, caches, secrets."""
_SECRET_NAMES: Final = frozenset(
    {
        ".env", ".envrc", ".dev.vars", ".secrets", ".netrc", "_netrc", ".npmrc", ".yarnrc.yml", ".pypirc", "pip.conf",
        ".git-credentials", ".pgpass", ".my.cnf", ".mylogin.cnf", ".htpasswd", ".dockercfg", ".s3cfg", ".boto",
        ".vault-token", ".vault_pass", ".databrickscfg", ".terraformrc", ".modal.toml", "auth.json", "kaggle.json",
        "local.settings.json", "accesstokens.json", "accesskeys.csv", "rootkey.csv", "kubeconfig", "terraform.tfstate",
        "terraform.tfstate.backup", "application_default_credentials.json",
    }
)  # fmt: skip
_SECRET_STEMS: Final = re.compile(
    r"(credentials?|secrets?|client_secret.*|service[-_]?account([-_]?key)?|.*-firebase-adminsdk-.*)"
    r"(\.(json|ya?ml|toml|ini|csv|txt|db))?"
)
_SECRET_BEGINNINGS: Final = (".env.", "id_rsa", "id_dsa", "id_ecdsa", "id_ed25519")
_SECRET_ENDINGS: Final = (
    ".env", ".pem", ".key", ".p8", ".p12", ".pfx", ".jks", ".keystore", ".kdbx", ".ppk", ".tfvars", ".tfvars.json",
    ".ovpn", ".agekey", ".kubeconfig",
)  # fmt: skip
_SECRET_PLACES: Final = frozenset(
    {
        ".docker/config.json", ".kube/config", ".aws/config", ".m2/settings.xml", "gh/hosts.yml", ".huggingface/token",
        "huggingface/token", ".snowflake/config.toml",
    }
)  # fmt: skip
_SURROGATES: Final = re.compile("[\ud800-\udfff]")
"""The surrogates that Python uses for bytes of a name that is not UTF-8."""


@dataclass(frozen=True, slots=True)
class ContextFile:
    """A file or a symbolic link of the folder.

    Attributes:
        path: Relative to the folder, with slashes.
        size: In bytes; 0 for a link.
        link: The target of a link, relative to its folder.
    """

    path: str
    size: int
    link: str | None = None


@dataclass(frozen=True, slots=True)
class Context:
    """What a Dockerfile copies from a folder.

    Attributes:
        files: What is sent, by path.
        strays: Links that point outside the folder; they are not sent.
        unnamed: What is not sent because its name or target is not UTF-8, as the builder requires.
    """

    folder: Path
    files: tuple[ContextFile, ...]
    strays: tuple[str, ...]
    unnamed: tuple[str, ...] = ()

    @property
    def size(self) -> int:
        """In bytes, before compression."""
        return sum(file.size for file in self.files)

    @property
    def secrets(self) -> list[str]:
        """The files whose names suggest secrets."""
        return [file.path for file in self.files if looks_secret(file.path)]

    def matches(self, source: str) -> list[str]:
        """Return the files and folders that a source of COPY matches."""
        depth = len(_normalized(source).split("/"))
        known = [*(file.path for file in self.files), MANIFEST_FILE]
        return sorted({"/".join(path.split("/")[:depth]) for path in known if _is_meant(path, source)})

    def with_file(self, path: str, size: int) -> Context:
        """Return a copy with a file of this size, which is sent whatever the folder contains."""
        others = (file for file in self.files if file.path != path)
        return replace(self, files=tuple(sorted([*others, ContextFile(path, size)], key=lambda file: file.path)))

    def digest(self, *extra: str) -> str:
        """Return a hash of the files and of `extra`, such as the manifest, to recognize equal deployments."""
        total = hashlib.sha256("\0".join(extra).encode())
        for file in self.files:
            if file.path == MANIFEST_FILE:
                continue  # Its status changes with each deployment; `extra` has the part that is sent.
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
    """Return what the sources of COPY instructions match in a folder."""
    rules = ignore_rules(folder)
    files, strays, unnamed = list[ContextFile](), list[str](), list[str]()
    for file in _walk(folder, rules):
        if file.path == IGNORE_FILE or not any(_is_meant(file.path, source) for source in sources):
            continue
        if _SURROGATES.search(f"{file.path}{file.link or ''}"):
            unnamed.append(file.path)
        elif file.link is not None and _points_out(folder, file):
            strays.append(file.path)
        else:
            files.append(file)
    files.sort(key=lambda file: file.path)
    return Context(folder, tuple(files), tuple(sorted(strays)), tuple(sorted(unnamed)))


def ignore_rules(folder: Path) -> IgnoreRules:
    """Return the rules of what a folder's `.dockerignore` excludes.

    Raises:
        UsageError: The file cannot be read, or is not UTF-8.
        ConfigurationError: A pattern in it is invalid.
    """
    path = folder / IGNORE_FILE
    return IgnoreRules(read_text(path).splitlines() if path.exists() else DEFAULT_PATTERNS)


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
    source = _normalized(source)
    if source == ".":
        return True
    wanted = source.split("/")
    head = path.split("/")[: len(wanted)]
    return len(head) == len(wanted) and all(map(fnmatch.fnmatchcase, head, wanted))


def _normalized(source: str) -> str:
    return os.path.normpath(source).replace(os.sep, "/")


def _points_out(folder: Path, file: ContextFile) -> bool:
    root = os.path.realpath(folder)
    pointed = os.path.realpath(folder / file.path)
    return Path(file.link or "").is_absolute() or os.path.commonpath((root, pointed)) != root


def looks_secret(path: str) -> bool:
    """Return whether a file's name and folder suggest a secret."""
    folder, _, name = path.lower().rpartition("/")
    if name.endswith((".example", ".sample", ".template", ".pub")):
        return False
    return (
        name in _SECRET_NAMES
        or _SECRET_STEMS.fullmatch(name) is not None
        or name.startswith(_SECRET_BEGINNINGS)
        or name.endswith(_SECRET_ENDINGS)
        or f"{folder.rpartition('/')[2]}/{name}" in _SECRET_PLACES
    )


_TOKEN: Final = re.compile(
    r"(?P<folders>\*\*/?)|(?P<some>\*)|(?P<one>\?)|\[(?P<negated>\^?+)(?P<members>(?:\\.|[^\]\\])+)\]"
    r"|(?P<open>\[|\\$)|(?P<plain>\\?.)",
    re.DOTALL,
)


class _Rule(NamedTuple):
    pattern: str
    expression: re.Pattern[str]
    takes_back: bool


class IgnoreRules:
    """Which paths a `.dockerignore` excludes, by Docker's rules.

    Patterns match paths relative to the folder, the last match decides, `!` includes again, `**` matches any number of
    folders, and everything below an excluded path is excluded.
    https://docs.docker.com/build/concepts/context/#dockerignore-files

    Args:
        lines: The lines of the file.

    Raises:
        ConfigurationError: A pattern is invalid; Docker refuses it too.
    """

    def __init__(self, lines: Iterable[str]) -> None:
        self._rules = [rule for number, line in enumerate(lines, 1) if (rule := _rule(number, line)) is not None]

    def leaves_out(self, path: str) -> bool:
        """Return whether a path, with slashes and relative to the folder, is excluded."""
        ways = _with_parents(path)
        left_out = False
        for rule in self._rules:
            if rule.takes_back == left_out and any(rule.expression.fullmatch(way) for way in ways):
                left_out = not rule.takes_back
        return left_out

    def leaves_out_all_of(self, folder: str) -> bool:
        """Return whether everything below a folder is excluded, so that it need not be walked."""
        taken_back = (rule.pattern for rule in self._rules if rule.takes_back)
        return self.leaves_out(folder) and not any(
            f"{pattern}/".startswith(f"{folder}/") or "*" in pattern.partition("/")[0] for pattern in taken_back
        )


def _rule(number: int, line: str) -> _Rule | None:
    if line.startswith("#"):
        return None
    text = line.strip()
    takes_back = text.startswith("!")
    pattern = text.removeprefix("!").strip()
    pattern = posixpath.normpath(pattern).lstrip("/") if pattern else ""
    if pattern in {"", "."} and text != "!":
        return None
    try:
        return _Rule(pattern, re.compile(_expression(pattern), re.DOTALL), takes_back)
    except ValueError as error:
        problem = tr("the pattern {text!r} cannot be read: {error}", text=text, error=error)
        raise ConfigurationError(f"{IGNORE_FILE}:{number}: {problem}") from error


def _expression(pattern: str) -> str:
    """Return the regular expression of a pattern, as Moby's `patternmatcher` builds it.

    Raises:
        ValueError: A character class or an escape is not closed, or a range is in the wrong order.
    """
    if not pattern:
        raise ValueError(tr("nothing follows the exclamation mark"))
    parts: list[str] = []
    for token in _TOKEN.finditer(pattern):
        match token.lastgroup:
            case "folders":
                parts.append("(?:.*/)?" if token.end() < len(pattern) else ".*")
            case "some":
                parts.append("[^/]*")
            case "one":
                parts.append("[^/]")
            case "members":
                parts.append(f"[{token['negated']}{_class(token['members'])}]")
            case "open":
                raise ValueError(tr("{text!r} is not closed", text=token[0]))
            case _:
                parts.append(re.escape(token[0][-1]))
    return "".join(parts)


def _class(members: str) -> str:
    found = [one[0] for one in re.finditer(r"\\?.", members, re.DOTALL)]
    parts = list[str]()
    for number, one in enumerate(found):
        before, after = found[number - 1][-1], found[(number + 1) % len(found)][-1]
        is_range = one == "-" and 0 < number < len(found) - 1
        if is_range and before > after:
            raise ValueError(tr("{before}-{after} is not a range", before=before, after=after))
        parts.append("-" if is_range else re.escape(one[-1]))
    return "".join(parts)


def _with_parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts), 0, -1)]
