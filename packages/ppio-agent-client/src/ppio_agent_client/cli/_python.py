"""The Python that an agent's folder is meant for, and programs run with it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

from ._failures import UsageError

RUNTIME_LINE: Final = "pip install ppio-agent-runtime"
_HAS_RUNTIME: Final = "import importlib.util, sys; sys.exit(importlib.util.find_spec('ppio_agent_runtime') is None)"
_ANSWER_SECONDS: Final = 30


def project_python(folder: Path) -> str:
    """Return the interpreter in the folder's `.venv`, else of the active environment, else the one that runs this."""
    active = os.environ.get("VIRTUAL_ENV")
    for environment in (folder / ".venv", *([Path(active)] if active else [])):
        place = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        if place.is_file():
            return str(place.absolute())
    return sys.executable


def check_runtime(python: str) -> None:
    """Look whether agents can run with an interpreter.

    Raises:
        UsageError: It has no runtime; the hint has the line that installs it.
    """
    if not has_runtime(python):
        line = RUNTIME_LINE if python == sys.executable else f"{python} -m {RUNTIME_LINE}"
        raise UsageError(f"ppio-agent-runtime is not installed for {python}.", hint=f"Run: {line}")


def has_runtime(python: str) -> bool:
    """Return whether agents can run with an interpreter."""
    try:
        looked = subprocess.run([python, "-c", _HAS_RUNTIME], capture_output=True, timeout=_ANSWER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(f"{python} does not run: {error}.") from error
    return looked.returncode == 0


def child_program(name: str) -> str:
    """Return the text of a program of ours that runs under an agent's own Python."""
    return (files(__package__) / "_children" / f"{name}.py").read_text(encoding="utf-8")
