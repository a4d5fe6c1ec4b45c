"""The agent's program: is it there, can it be imported, and is there a function to call."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from .._python import RUNTIME_LINE, child_program, has_runtime
from .findings import Finding, error, warning

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest

_MOST_SECONDS: Final = 60
_SAID: Final = re.compile(r"^ppio-agent-runtime: (?:'[^']*' )?(.*)$", re.MULTILINE)
_APP: Final = re.compile(r"\b\w*AgentRuntimeApp\(")


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
        looked = subprocess.run(
            [python, "-c", child_program("check"), entrypoint],
            cwd=folder,
            env={**manifest.spec.env_vars, **os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=limit,
            check=False,
        )
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
