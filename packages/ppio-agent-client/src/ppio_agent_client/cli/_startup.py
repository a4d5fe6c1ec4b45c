"""What the start of an agent costs: its import, with Python's own clock for each module."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ._python import child_program

_LINE: Final = re.compile(rb"import time:\s+(?P<own>\d+) \|\s+\d+ \|\s+(?P<module>\S+)")
_MOST_SECONDS: Final = 60
_OF_PYTHON: Final = "Python's own"


@dataclass(frozen=True)
class StartProfile:
    """Where the time of an import goes.

    Attributes:
        seconds: Of all modules together.
        packages: Seconds by top-level package, the most expensive first; Python's own modules count as one.
    """

    seconds: float
    packages: dict[str, float]


def start_profile(folder: Path, python: str, entrypoint: str, variables: Mapping[str, str]) -> StartProfile | None:
    """Return what importing an agent costs here; None if it cannot be imported.

    Args:
        folder: The agent's folder.
        python: The interpreter.
        entrypoint: What the manifest names.
        variables: Environment of the agent on top of this one's.
    """
    command = [python, "-X", "importtime", "-c", child_program("check"), entrypoint]
    try:
        ran = subprocess.run(
            command,
            cwd=folder,
            env={**variables, **os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_MOST_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return _profile(ran.stderr) if b'"app": true' in ran.stdout else None


def _profile(report: bytes) -> StartProfile:
    import sys

    microseconds: Counter[str] = Counter()
    for match in _LINE.finditer(report):
        package = match["module"].decode("utf-8", "replace").partition(".")[0]
        own = package in sys.stdlib_module_names or package.startswith("_")
        microseconds[_OF_PYTHON if own else package] += int(match["own"])
    packages = {package: cost / 1e6 for package, cost in microseconds.most_common()}
    return StartProfile(sum(packages.values()), packages)
