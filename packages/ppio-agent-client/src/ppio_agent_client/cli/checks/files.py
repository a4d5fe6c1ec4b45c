"""The files beside the manifest: requirements, Dockerfile, and the program that is started."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import ConfigurationError

from ..deploy.context import IGNORE_FILE, ignore_rules
from ..deploy.dockerfile import read_dockerfile
from ..deploy.plan import DOCKERFILES
from ..errors import UsageError
from ..messages import tr
from ..project import RUNTIME_LINE, has_runtime, import_agent, is_script
from ..requirements import REQUIREMENTS_FILE, missing_for, read_requirements
from . import Finding, error, located, warning

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest

_RUNTIME: Final = "ppio-agent-runtime"
_MOST_SECONDS: Final = 60
_SAID: Final = re.compile(r"^ppio-agent-runtime: (?:'[^']*' )?(.*)$", re.MULTILINE)
_APP: Final = re.compile(r"\b\w*AgentRuntimeApp\(")


def check_requirements(folder: Path, *, needs_runtime: bool = True) -> Iterator[Finding]:
    """Yield the lines that pip would refuse, in the file and in those that it includes."""
    if not (folder / REQUIREMENTS_FILE).is_file():
        yield warning(
            "requirements",
            REQUIREMENTS_FILE,
            1,
            tr(
                "there is no {requirements_file}, which must list {runtime}",
                requirements_file=REQUIREMENTS_FILE,
                runtime=_RUNTIME,
            ),
        )
        return
    lines = list(read_requirements(folder))
    for line in lines:
        if line.problem and line.problem.is_certain:
            yield error("requirements", line.file, line.number, line.problem.text)
        elif line.problem:
            doubt = tr("{line!r} cannot be checked: {reason}", line=line.text, reason=line.problem.text)
            yield warning("requirements", line.file, line.number, doubt)
        elif line.path is not None:
            advice = tr(
                "{line!r} is a path on this machine; does the Dockerfile copy it before pip runs?", line=line.text
            )
            yield warning("requirements", line.file, line.number, advice)
    if needs_runtime and _RUNTIME not in {line.name for line in lines}:
        yield warning(
            "requirements",
            REQUIREMENTS_FILE,
            1,
            tr("{runtime}, which starts the agent, is not listed", runtime=_RUNTIME),
        )


def check_protocols(folder: Path, protocols: Sequence[str]) -> Iterator[Finding]:
    """Yield an error if the requirements lack something for the manifest's protocols."""
    if (missing := missing_for(protocols, folder)) is not None:
        yield warning(
            "requirements",
            REQUIREMENTS_FILE,
            1,
            tr("the protocols of the manifest need the line {line}", line=missing),
        )


def check_dockerfile(folder: Path) -> Iterator[Finding]:
    """Yield what the platform doesn't support in the Dockerfile, and invalid patterns of .dockerignore."""
    try:
        ignore_rules(folder)
    except (ConfigurationError, UsageError) as problem:
        yield located("dockerfile", IGNORE_FILE, problem)
    for name in DOCKERFILES:
        if (folder / name).is_file():
            try:
                read_dockerfile((folder / name).read_text(encoding="utf-8-sig"), source=name)
            except (ConfigurationError, OSError, UnicodeDecodeError) as problem:
                yield located("dockerfile", name, problem)
            return
    yield warning(
        "dockerfile", "Dockerfile", 1, tr("there is none; `deploy` uses the one that `ppio-agent init` writes")
    )


def check_program(
    folder: Path, python: str, manifest: AgentManifest, place: tuple[str, int], *, imports: bool
) -> Iterator[Finding]:
    """Yield what keeps the agent's program from starting.

    Args:
        folder: The agent's folder.
        python: The interpreter to import it with.
        manifest: The manifest, which names the program.
        place: File and line of the entrypoint in the manifest.
        imports: Whether to import it; if not, only its path is checked.
    """
    entrypoint = manifest.spec.entrypoint
    file = _file_of(folder, entrypoint)
    if not (folder / file).is_file():
        yield error("entrypoint", *place, tr("there is no file {file!r}, which spec.entrypoint names", file=file))
        return
    if is_script(folder, entrypoint):
        return  # Importing or running it would start its own server.
    if not imports:
        return
    if not has_runtime(python):
        yield warning(
            "entrypoint",
            *place,
            tr(
                "not imported, because ppio-agent-runtime is not installed for {python}; run: {command}",
                python=python,
                command=RUNTIME_LINE,
            ),
        )
        return
    limit = min(manifest.spec.runtime.timeout, _MOST_SECONDS)
    try:
        looked = import_agent(folder, python, manifest, timeout=limit)
    except subprocess.TimeoutExpired:
        yield error("entrypoint", file, 1, tr("importing it did not end within {limit} s", limit=limit))
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
        yield error(
            "entrypoint",
            file,
            1,
            tr("importing it ends the process with exit code {code}", code=looked.returncode),
        )
        return
    if "raised" in told:
        yield error(
            "entrypoint",
            told["file"] or file,
            told["line"] or 1,
            tr("importing it fails: {error}", error=told["raised"]),
        )
    elif not told["app"]:
        said = _SAID.findall(looked.stderr.decode("utf-8", "replace"))
        yield error("entrypoint", file, 1, said[-1] if said else tr("importing it ends the process"))
    elif told["handler"] is None:
        yield error("entrypoint", file, _line_of_app(folder / file), tr("the app has no @app.entrypoint"))


def _line_of_app(path: Path) -> int:
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((number for number, line in enumerate(lines, 1) if _APP.search(line)), 1)
