"""`deploy --local`: a copy of the folder under the agent's name, if wanted with a virtual environment of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ppio_agent_models import MANIFEST_FILE

from ..errors import CommandError, UsageError
from ..output import screen
from ..project import Agent
from ..requirements import REQUIREMENTS_FILE, read_requirements

if TYPE_CHECKING:
    from ppio_agent_client import SyncLocalSandboxProvider

_REQUIREMENT: Final = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)")
_COMPLETE: Final = ".complete"
_FORGET_SECONDS: Final = 30 * 24 * 3600
"""Environments that no deployment has used for so long are removed; no sandbox lives that long by habit."""
_OUR_WHEELS: Final = ("ppio-agent-models", "ppio-agent-runtime")
_LAST_LINES: Final = 20


def deploy_locally(agent: Agent, *, update: bool, install: bool, dry_run: bool) -> None:
    """Register an agent's folder as a local template.

    Raises:
        UsageError: The manifest has another file name, or there is nothing to install.
        CommandError: Another folder has that name, or the installation failed.
    """
    from ppio_agent_client import SyncLocalSandboxProvider

    if agent.file.name != MANIFEST_FILE:
        raise UsageError(f"Local templates are read from {MANIFEST_FILE}, not from {agent.file.name}.")
    if install and not (agent.folder / REQUIREMENTS_FILE).is_file():
        raise UsageError(f"--install needs {agent.folder / REQUIREMENTS_FILE}, which is not there.")
    provider = SyncLocalSandboxProvider()
    _refuse_to_overwrite(provider, agent, update)
    if dry_run:
        _tell(agent, None, dry_run=True)
        return
    python = environment_for(provider.home, agent.folder / REQUIREMENTS_FILE) if install else None
    if not install:
        _say_what_is_missing(agent)
    with screen.working(f"Copying {agent.folder.resolve()}"):
        provider.deploy(agent.folder, python=None if python is None else str(python))
    _tell(agent, python, dry_run=False)


def _refuse_to_overwrite(provider: SyncLocalSandboxProvider, agent: Agent, update: bool) -> None:
    for template in provider.list_templates():
        folder = template.metadata.get("folder")
        if template.template_id == agent.name and not update and folder != os.path.realpath(agent.folder):
            raise CommandError(
                f"The name {agent.name!r} belongs to the agent in {folder}.",
                hint="To take it over: --update. Or give the agent another name in the manifest.",
            )


def _say_what_is_missing(agent: Agent) -> None:
    """Warn when the interpreter that agents run with has not what they import, as far as that can be seen."""
    if os.environ.get("PPIO_AGENT_PYTHON"):
        return
    missing = [] if find_spec("ppio_agent_runtime") else ["ppio-agent-runtime"]
    lines = read_requirements(agent.folder) if (agent.folder / REQUIREMENTS_FILE).is_file() else ()
    for line in lines:
        if line.name and line.applies_here and line.name not in missing and not _is_installed(line.name):
            missing.append(line.name)
    if missing:
        screen.warn(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed for {sys.executable}, which "
            f"agents run with; add --install, or run: pip install -r {REQUIREMENTS_FILE}"
        )


def _is_installed(name: str) -> bool:
    return next(iter(distributions(name=name)), None) is not None


def _tell(agent: Agent, python: Path | None, *, dry_run: bool) -> None:
    version = agent.manifest.metadata.version
    document = {"template_id": agent.name, "name": agent.name, "version": version, "local": True, "status": "deployed"}
    document |= {"folder": os.path.realpath(agent.folder), "python": None if python is None else str(python)}
    if dry_run:
        document |= {"dry_run": True, "status": "pending"}
        screen.result(document, f"Nothing was done. {agent.name} would be copied.")
        return
    screen.result(document, f"Deployed {agent.name} {version} on this machine.")
    screen.note(f'Ask it: ppio-agent invoke --local --template-id {agent.name} --input "hello"')


def environment_for(home: Path, requirements: Path) -> Path:
    """Return the interpreter of an environment that has what a requirements file names; make it if there is none.

    Raises:
        CommandError: Something could not be installed, or the runtime is not among it.
    """
    folder = home / "environments" / _key(requirements)
    python = folder / "bin" / "python"
    _forget_old(folder.parent)
    if (folder / _COMPLETE).exists():
        (folder / _COMPLETE).touch()
        screen.note(f"Using the environment in {folder}; its requirements are the same.")
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        _make(folder, python, requirements)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / _COMPLETE).touch()
    return python


def _make(folder: Path, python: Path, requirements: Path) -> None:
    has_pip = find_spec("pip") is not None
    with screen.working(f"Making an environment in {folder}"):
        _run([sys.executable, "-m", "venv", *(["--without-pip"] if has_pip else []), str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(python)] if has_pip else [str(python), "-m", "pip"]
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    with screen.working(f"Installing {requirements.name}"):
        _run([*pip, "install", *options, *_checkouts(requirements), "-r", requirements.name], cwd=requirements.parent)
    try:
        _run([str(python), "-c", "import ppio_agent_runtime"])
    except CommandError as error:
        raise CommandError(
            f"{requirements.name} does not bring ppio-agent-runtime, which starts the agent.",
            hint=f"Add a line to {requirements.name}: ppio-agent-runtime",
        ) from error


def _run(command: list[str], *, cwd: Path | None = None) -> None:
    """Run a program, tell what it says, and fail with its last lines."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                screen.detail(line.rstrip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise CommandError(f"{' '.join(command[:4])} ... failed:" + "".join(f"\n  {line}" for line in last))


def _key(requirements: Path) -> str:
    """Return a name for what is installed: equal for equal requirements, and never equal if they name other files."""
    text = requirements.read_bytes()
    names_files = any(
        line.strip().startswith((b"-", b".", b"/", b"file:")) or b"/" in line.split(b"#")[0]
        for line in text.splitlines()
    )
    total = hashlib.sha256(f"{sys.version}\0{sys.executable}\0{_checkouts(requirements)}\0".encode() + text)
    if names_files:
        total.update(str(time.time_ns()).encode())
    return total.hexdigest()[:16]


def _checkouts(requirements: Path) -> list[str]:
    """Return the folders that our own wheels are installed from, if they are: an index may not have this version."""
    found: list[str] = []
    if b"ppio-agent-runtime" not in requirements.read_bytes():
        return found
    for name in _OUR_WHEELS:
        with suppress(PackageNotFoundError, ValueError, KeyError):
            url = json.loads(distribution(name).read_text("direct_url.json") or "{}")["url"]
            path = Path(url2pathname(urlsplit(url).path))
            if path.is_dir():
                found.append(str(path))
    return found


def _forget_old(folder: Path) -> None:
    for mark in folder.glob(f"*/{_COMPLETE}"):
        if time.time() - mark.stat().st_mtime > _FORGET_SECONDS:
            shutil.rmtree(mark.parent, ignore_errors=True)
