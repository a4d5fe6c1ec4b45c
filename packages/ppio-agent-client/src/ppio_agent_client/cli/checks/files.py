"""The files beside the manifest: requirements, Dockerfile, and the program that is started."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

from ..deploy.dockerfile import read_dockerfile
from ..deploy.plan import DOCKERFILES
from ..project import REQUIREMENTS_FILE, RUNTIME_LINE, has_runtime, import_agent
from . import Finding, error, located, warning

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest

_RUNTIME: Final = "ppio-agent-runtime"
_COMMENT: Final = re.compile(r"(^|\s)#.*$")
_OPTIONS: Final = re.compile(r"\s+--(hash|config-settings?|global-option)\b.*$")
_OTHER_FILE: Final = re.compile(r"(?:-r|--requirement|-c|--constraint)(?:\s+|=)?(?P<file>\S+)$")
_MOST_SECONDS: Final = 60
_SAID: Final = re.compile(r"^ppio-agent-runtime: (?:'[^']*' )?(.*)$", re.MULTILINE)
_APP: Final = re.compile(r"\b\w*AgentRuntimeApp\(")
_PLACE: Final = re.compile(r"(\.{1,2}[/\\]|[/\\]|[a-z+]+://|.*\.whl$|.*\.tar\.gz$)", re.IGNORECASE)


def check_requirements(folder: Path) -> Iterator[Finding]:
    """Yield the lines that pip would refuse, in the file and in those that it names."""
    path = folder / REQUIREMENTS_FILE
    if not path.is_file():
        yield warning("requirements", REQUIREMENTS_FILE, 1, f"there is no {REQUIREMENTS_FILE}; it must name {_RUNTIME}")
        return
    names: set[str] = set()
    yield from _read(folder, REQUIREMENTS_FILE, names, {path.resolve()})
    if _RUNTIME not in names:
        yield warning("requirements", REQUIREMENTS_FILE, 1, f"{_RUNTIME} is not in it, and the agent starts with that")


def _read(folder: Path, file: str, names: set[str], seen: set[Path]) -> Iterator[Finding]:
    try:
        text = (folder / file).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as problem:
        yield error("requirements", file, 1, f"it cannot be read: {problem}")
        return
    for number, line in _lines(text):
        other = _OTHER_FILE.match(line)
        if other is None:
            yield from _line(file, number, line, names)
            continue
        path = (folder / file).parent / other["file"]
        if not path.is_file():
            yield error("requirements", file, number, f"there is no file {other['file']!r}")
        elif path.resolve() not in seen:
            seen.add(path.resolve())
            yield from _read(folder, Path(file).parent.joinpath(other["file"]).as_posix(), names, seen)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield what pip takes as one line, with the number of its first: a backslash at the end joins two."""
    begun, start = "", 0
    for number, raw in enumerate(text.splitlines(), 1):
        start = start if begun else number
        if raw.endswith("\\"):
            begun += f"{raw[:-1]} "
            continue
        line, begun = _COMMENT.sub("", begun + raw).strip(), ""
        if line:
            yield start, line
    if begun.strip():
        yield start, begun.strip()


def _line(file: str, number: int, line: str, names: set[str]) -> Iterator[Finding]:
    from packaging.requirements import InvalidRequirement, Requirement
    from packaging.utils import canonicalize_name

    if line.startswith("-") or _PLACE.match(line):
        if line.startswith(("-e", "--editable")) or re.match(r"\.{0,2}[/\\]", line):
            yield warning(
                "requirements", file, number, f"{line!r} is a place on this machine; is it in the template too?"
            )
        return
    try:
        names.add(canonicalize_name(Requirement(_OPTIONS.sub("", line)).name))
    except InvalidRequirement as problem:
        reason = str(problem).splitlines()[0]
        yield error("requirements", file, number, f"pip cannot read {line[:60]!r}: {reason}")


def check_dockerfile(folder: Path) -> Iterator[Finding]:
    """Yield what the platform cannot do in a Dockerfile; without one, that of `init` is used."""
    for name in DOCKERFILES:
        if (folder / name).is_file():
            try:
                read_dockerfile((folder / name).read_text(encoding="utf-8-sig"), source=name)
            except (ConfigurationError, OSError, UnicodeDecodeError) as problem:
                yield located("dockerfile", name, problem)
            return
    yield warning("dockerfile", "Dockerfile", 1, "there is none; deploying uses the one that `ppio-agent init` writes")


def check_program(
    folder: Path, python: str, manifest: AgentManifest, place: tuple[str, int], *, imports: bool
) -> Iterator[Finding]:
    """Yield what keeps the agent's program from being served.

    Args:
        folder: The agent's folder.
        python: The interpreter to import it with.
        manifest: What names it.
        place: File and line where it is named.
        imports: Whether to run it; if not, only its place is looked at.
    """
    entrypoint = manifest.spec.entrypoint
    file = _file_of(folder, entrypoint)
    if not (folder / file).is_file():
        yield error("entrypoint", *place, f"there is no file {file!r}, which spec.entrypoint names")
        return
    if not imports:
        return
    if not has_runtime(python):
        yield warning("entrypoint", *place, f"not imported: {python} has no ppio-agent-runtime; {RUNTIME_LINE}")
        return
    limit = min(manifest.spec.runtime.timeout, _MOST_SECONDS)
    try:
        looked = import_agent(folder, python, manifest, timeout=limit)
    except subprocess.TimeoutExpired:
        yield error("entrypoint", file, 1, f"its import did not end within {limit} s")
        return
    yield from _judged(folder, file, looked)


def _file_of(folder: Path, entrypoint: str) -> str:
    name = entrypoint.partition(":")[0]
    if name.endswith(".py"):
        return name
    package = f"{name.replace('.', '/')}/__init__.py"
    return package if (folder / package).is_file() else f"{name.replace('.', '/')}.py"


def _judged(folder: Path, file: str, looked: subprocess.CompletedProcess[bytes]) -> Iterator[Finding]:
    try:
        told: dict[str, Any] = json.loads(looked.stdout)
    except ValueError:
        yield error("entrypoint", file, 1, f"its import ends the process, with exit code {looked.returncode}")
        return
    if "raised" in told:
        yield error("entrypoint", told["file"] or file, told["line"] or 1, f"its import fails: {told['raised']}")
    elif not told["app"]:
        said = _SAID.findall(looked.stderr.decode("utf-8", "replace"))
        yield error("entrypoint", file, 1, said[-1] if said else "its import ends the process")
    elif told["handler"] is None:
        yield error("entrypoint", file, _line_of_app(folder / file), "the app has no @app.entrypoint")


def _line_of_app(path: Path) -> int:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((number for number, line in enumerate(lines, 1) if _APP.search(line)), 1)
