"""`deploy --local`: a copy of the folder under the agent's name, optionally with its own virtual environment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
import tomllib
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution, distributions
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from ppio_agent_models import MANIFEST_FILE

from ..errors import CommandError, UsageError
from ..messages import tr
from ..output import screen
from ..project import Agent, has_runtime, is_script, read_text
from ..requirements import REQUIREMENTS_FILE, read_requirements

if TYPE_CHECKING:
    from ppio_agent_client import SyncLocalSandboxProvider

_COMPLETE: Final = ".complete"
_FORGET_SECONDS: Final = 30 * 24 * 3600
"""Environments that no deployment has used for this long are removed; sandboxes seldom run that long."""
_PROJECT_FILE: Final = "pyproject.toml"
_LOCK_FILE: Final = "uv.lock"
_WHEELS_FOLDER: Final = "wheels"
_RUNTIME: Final = "ppio-agent-runtime"
_OUR_WHEELS: Final = ("ppio-agent-models", "ppio-agent-runtime")
_LAST_LINES: Final = 20


def deploy_locally(
    agent: Agent, *, update: bool, install: bool, dry_run: bool, check: Callable[[str], None] | None
) -> None:
    """Register an agent's folder as a local template.

    Args:
        agent: The folder.
        update: Whether to replace an agent of another folder that has the same name.
        install: Whether to create a virtual environment for it.
        dry_run: Whether to change nothing.
        check: Raises if the agent cannot be started with an interpreter; None to skip the check.

    Raises:
        UsageError: The manifest has another file name, or there is nothing to install.
        CommandError: An agent of another folder has that name, or the installation failed.
    """
    from ppio_agent_client import SyncLocalSandboxProvider

    if agent.file.name != MANIFEST_FILE:
        raise UsageError(
            tr(
                "The manifest of a local template must be named {expected}, not {name}.",
                expected=MANIFEST_FILE,
                name=agent.file.name,
            )
        )
    source = _install_source(agent.folder) if install else None
    provider = SyncLocalSandboxProvider()
    _refuse_to_overwrite(provider, agent, update)
    if dry_run:
        _tell(agent, None, dry_run=True)
        return
    python = None if source is None else _environment_for(provider.home, agent, source)
    if not install:
        _say_what_is_missing(agent)
    if check is not None:
        with screen.working(tr("Importing {entrypoint}", entrypoint=agent.manifest.spec.entrypoint)):
            check(str(python or os.environ.get("PPIO_AGENT_PYTHON") or sys.executable))
    with screen.working(tr("Copying {folder}", folder=agent.folder.resolve())):
        provider.deploy(agent.folder, python=None if python is None else str(python))
    _tell(agent, python, dry_run=False)


def _refuse_to_overwrite(provider: SyncLocalSandboxProvider, agent: Agent, update: bool) -> None:
    for template in provider.list_templates():
        folder = template.metadata.get("folder")
        if template.template_id == agent.name and not update and folder != os.path.realpath(agent.folder):
            raise CommandError(
                tr("The name {name!r} is used by the agent in {folder}.", name=agent.name, folder=folder),
                hint=tr("To replace it, add --update. Or change the agent's name in the manifest."),
            )


def _say_what_is_missing(agent: Agent) -> None:
    """Warn if the interpreter that agents run with lacks packages of requirements.txt."""
    if os.environ.get("PPIO_AGENT_PYTHON"):
        return
    is_ours = not is_script(agent.folder, agent.manifest.spec.entrypoint)
    missing = [] if find_spec("ppio_agent_runtime") or not is_ours else ["ppio-agent-runtime"]
    lines = read_requirements(agent.folder) if (agent.folder / REQUIREMENTS_FILE).is_file() else ()
    for line in lines:
        if line.name and line.applies_here and line.name not in missing and not _is_installed(line.name):
            missing.append(line.name)
    if missing:
        screen.warn(
            tr(
                "not installed for {python}, which agents run with: {packages}. Add --install, or run: {command}",
                packages=", ".join(missing),
                python=sys.executable,
                command=f"pip install -r {REQUIREMENTS_FILE}",
            )
        )


def _is_installed(name: str) -> bool:
    return next(iter(distributions(name=name)), None) is not None


def _tell(agent: Agent, python: Path | None, *, dry_run: bool) -> None:
    version = agent.manifest.metadata.version
    document = {"template_id": agent.name, "name": agent.name, "version": version, "local": True, "status": "deployed"}
    document |= {"folder": os.path.realpath(agent.folder), "python": None if python is None else str(python)}
    if dry_run:
        document |= {"dry_run": True, "status": "pending"}
        screen.result(document, tr("Nothing was changed. {name} would be copied.", name=agent.name))
        return
    screen.result(document, tr("Deployed {name} {version} on this machine.", name=agent.name, version=version))
    screen.note(
        tr("Call it: {command}", command=f'ppio-agent invoke --local --template-id {agent.name} --input "hello"')
    )


def _install_source(folder: Path) -> Path:
    """Return the file that lists an agent's dependencies."""
    for name in (REQUIREMENTS_FILE, _PROJECT_FILE):
        if (folder / name).is_file():
            return folder / name
    raise UsageError(
        tr(
            "--install needs {requirements} or {project}, and neither is in {folder}.",
            requirements=REQUIREMENTS_FILE,
            project=_PROJECT_FILE,
            folder=folder.resolve(),
        )
    )


def _environment_for(home: Path, agent: Agent, source: Path) -> Path:
    """Return the interpreter of an environment with the dependencies that a file lists; create it if there is none.

    Raises:
        CommandError: A package could not be installed, or the runtime is not among them.
    """
    folder = home / "environments" / _key(source)
    python = folder / "bin" / "python"
    _forget_old(folder.parent)
    if (folder / _COMPLETE).exists():
        (folder / _COMPLETE).touch()
        screen.note(tr("Using the environment in {folder}, because the requirements are the same.", folder=folder))
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        _make(folder, python, source)
        if not is_script(agent.folder, agent.manifest.spec.entrypoint):
            _check_runtime(python, source)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / _COMPLETE).touch()
    return python


def _check_runtime(python: Path, source: Path) -> None:
    if not has_runtime(str(python)):
        raise CommandError(
            tr("{file} does not install {runtime}, which starts the agent.", file=source.name, runtime=_RUNTIME),
            hint=tr("Add this line to {file}: {runtime}", file=source.name, runtime=_RUNTIME),
        )


def _make(folder: Path, python: Path, source: Path) -> None:
    has_pip = find_spec("pip") is not None
    with screen.working(tr("Creating an environment in {folder}", folder=folder)):
        _run([sys.executable, "-m", "venv", *(["--without-pip"] if has_pip else []), str(folder)])
    uv = shutil.which("uv") if source.name == _PROJECT_FILE and source.with_name(_LOCK_FILE).is_file() else None
    with screen.working(tr("Installing {file}", file=_LOCK_FILE if uv else source.name)):
        if uv:
            command = [uv, "sync", "--frozen", "--no-dev", "--no-install-project", "--python", str(python)]
            _run(command, cwd=source.parent, UV_PROJECT_ENVIRONMENT=str(folder))
            return
        if source.name == _PROJECT_FILE:
            wanted = folder / REQUIREMENTS_FILE
            wanted.write_text("".join(f"{line}\n" for line in _dependencies(source)), encoding="utf-8")
            if source.with_name(_LOCK_FILE).is_file():
                screen.warn(tr("uv is not on PATH, so the versions in {file} are not used.", file=_LOCK_FILE))
        else:
            wanted = source
        pip = [sys.executable, "-m", "pip", "--python", str(python)] if has_pip else [str(python), "-m", "pip"]
        options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
        wheels = ["--find-links", _WHEELS_FOLDER] if (source.parent / _WHEELS_FOLDER).is_dir() else []
        command = [*pip, "install", *options, *wheels, *_checkouts(source), "-r", str(wanted.resolve())]
        _run(command, cwd=source.parent)


def _dependencies(project: Path) -> list[str]:
    """Return `project.dependencies` of a pyproject.toml.

    Raises:
        UsageError: It cannot be read, or has none.
    """
    try:
        found = tomllib.loads(read_text(project)).get("project", {}).get("dependencies")
    except tomllib.TOMLDecodeError as error:
        raise UsageError(tr("{path} cannot be read: {reason}.", path=project, reason=error)) from error
    if not isinstance(found, list):
        raise UsageError(
            tr("{path} has no dependencies in [project].", path=project),
            hint=tr("List them in {file}.", file=REQUIREMENTS_FILE),
        )
    return [str(line) for line in found]


def _run(command: list[str], *, cwd: Path | None = None, **variables: str) -> None:
    """Run a program and show its output; if it fails, raise an error with its last lines."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command,
        cwd=cwd,
        env={**os.environ, **variables},
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
        raise CommandError(
            tr("{command} failed:", command=f"{' '.join(command[:4])} ...") + "".join(f"\n  {line}" for line in last)
        )


def _key(source: Path) -> str:
    """Return a key of the environment: equal for equal requirements, unique if they include files, paths or URLs."""
    lock = source.with_name(_LOCK_FILE)
    texts = [source, *([lock] if source.name == _PROJECT_FILE and lock.is_file() else [])]
    total = hashlib.sha256(f"{sys.version}\0{sys.executable}\0{_checkouts(source)}\0".encode())
    for path in texts:
        total.update(path.read_bytes())
    if source.name == REQUIREMENTS_FILE:
        lines = list(read_requirements(source.parent))
        if any(line.file != REQUIREMENTS_FILE or line.requirement is None or line.requirement.url for line in lines):
            total.update(str(time.time_ns()).encode())
    return total.hexdigest()[:16]


def _checkouts(source: Path) -> list[str]:
    """Return the folders that our packages were installed from, if any: an index may not have this version."""
    found: list[str] = []
    if source.name == REQUIREMENTS_FILE:
        names_it = any(line.name == _RUNTIME for line in read_requirements(source.parent))
    else:
        names_it = any(_RUNTIME in line.lower().replace("_", "-") for line in _dependencies(source))
    for name in _OUR_WHEELS if names_it else ():
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
