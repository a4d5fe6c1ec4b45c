"""Checks of the agent in a folder: whether it starts, and its import time, measured with `-X importtime`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from ppio_agent_models import MANIFEST_FILE, PPIOAgentRuntimeError

from ..errors import CommandError
from ..messages import tr
from ..project import RUNTIME_LINE, has_module, has_runtime, import_agent, is_script, project_python, read_manifest
from ..requirements import MODULES, missing_for
from . import Check, State

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest

_SHOWN_PACKAGES: Final = 5
_SLOW_START_SECONDS: Final = 2.0
_MAX_IMPORT_SECONDS: Final = 60
_INDEX_SECONDS: Final = 20
_IMPORT: Final = re.compile(rb"import time:\s+(?P<own>\d+) \|\s+\d+ \|\s+(?P<module>\S+)")


def check_agent(folder: Path) -> Iterator[Check]:
    """Yield how long the agent in a folder takes to start; nothing if there is none."""
    if not (folder / MANIFEST_FILE).is_file():
        return
    try:
        manifest = read_manifest(folder / MANIFEST_FILE)
    except (PPIOAgentRuntimeError, CommandError) as error:
        yield Check("agent", "manifest", State.ERROR, str(error), "ppio-agent validate")
        return
    python = project_python(folder)
    yield Check("agent", "name", State.OK, f"{manifest.metadata.name} {manifest.metadata.version}")
    yield Check("agent", "python", State.OK, python)
    yield from _protocols(folder, python, manifest.spec.protocols)
    if is_script(folder, manifest.spec.entrypoint):
        yield Check("agent", "start", State.OK, tr("a script that serves by itself"))
        return
    if not has_runtime(python):
        yield Check(
            "agent", "start", State.ERROR, tr("ppio-agent-runtime is not installed for its Python"), RUNTIME_LINE
        )
        return
    costs = import_costs(folder, python, manifest)
    if costs is None:
        yield Check("agent", "start", State.ERROR, tr("it cannot be imported"), "ppio-agent validate")
        return
    slow = sum(costs.values()) > _SLOW_START_SECONDS * 1e6
    hint = tr("Import heavy packages inside functions: each sandbox waits for the import.") if slow else None
    total = tr("importing it takes {time}", time=_milliseconds(sum(costs.values())))
    yield Check("agent", "start", State.NOTE if slow else State.OK, total, hint)
    for package, cost in costs.most_common(_SHOWN_PACKAGES):
        yield Check("agent", f"  {package}", State.OK, _milliseconds(cost))


def _protocols(folder: Path, python: str, protocols: list[str]) -> Iterator[Check]:
    """Yield whether its protocols are installed, here and in the image that is built from its folder."""
    if not protocols:
        return
    hints = []
    if lacking := [name for name, module in MODULES.items() if name in protocols and not has_module(python, module)]:
        install = f"pip install 'ppio-agent-runtime[{','.join(lacking)}]'"
        hints.append(tr("its Python needs: {command}", command=install))
    if (line := missing_for(protocols, folder)) is not None:
        hints.append(tr("requirements.txt needs the line {line}", line=line))
    state = State.WARNING if hints else State.OK
    yield Check("agent", "protocols", state, ", ".join(protocols), "; ".join(hints) or None)


def check_index(folder: Path) -> Iterator[Check]:
    """Yield whether pip finds this version of the runtime, which images and environments of agents install."""
    from ppio_agent_client import __version__

    wheels = ["--find-links", "wheels"] if (folder / "wheels").is_dir() else []
    wanted = f"ppio-agent-runtime=={__version__}"
    options = ["--no-deps", "--no-input", "--disable-pip-version-check", "--retries", "0", "--timeout", "5"]
    command = [sys.executable, "-m", "pip", "download", *options, *wheels, wanted]
    if find_spec("pip") is None:
        yield Check(
            "installed",
            "index",
            State.NOTE,
            tr("{requirement} not looked up: this Python has no pip", requirement=wanted),
        )
        return
    try:
        with TemporaryDirectory(prefix="ppio-agent-") as target:
            ended = subprocess.run(
                [*command, "--dest", target], cwd=folder, capture_output=True, timeout=_INDEX_SECONDS, check=False
            )
        found = ended.returncode == 0
    except subprocess.TimeoutExpired:
        yield Check(
            "installed",
            "index",
            State.NOTE,
            tr("no answer about {requirement} within {seconds} s", requirement=wanted, seconds=_INDEX_SECONDS),
        )
        return
    if found:
        yield Check("installed", "index", State.OK, tr("pip finds {requirement}", requirement=wanted))
    else:
        hint = tr(
            "Images cannot be built without it. Put its wheels into wheels/ beside the Dockerfile; see README.md."
        )
        yield Check("installed", "index", State.NOTE, tr("pip does not find {requirement}", requirement=wanted), hint)


def import_costs(folder: Path, python: str, manifest: AgentManifest) -> Counter[str] | None:
    """Return the time to import an agent; None if it cannot be imported.

    Returns:
        Microseconds by top-level package; Python's own modules count as one.
    """
    try:
        ran = import_agent(folder, python, manifest, "-X", "importtime", timeout=_MAX_IMPORT_SECONDS)
    except (OSError, subprocess.TimeoutExpired):
        return None
    if b'"app": true' not in ran.stdout:
        return None
    costs: Counter[str] = Counter()
    for match in _IMPORT.finditer(ran.stderr):
        package = match["module"].decode("utf-8", "replace").partition(".")[0]
        own = package in sys.stdlib_module_names or package.startswith("_")
        costs[tr("Python's own") if own else package] += int(match["own"])
    return costs


def _milliseconds(microseconds: int) -> str:
    return f"{microseconds / 1000:.0f} ms"
