"""`deploy --local`: a copy of the folder under the agent's name, if wanted with a virtual environment of its own."""

from __future__ import annotations

import os
import re
import sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ppio_agent_models import MANIFEST_FILE

from .._failures import CommandError, UsageError
from .._manifest_file import read_text
from .._output import screen
from .environment import environment_for
from .manifest import Agent

if TYPE_CHECKING:
    from ppio_agent_client import SyncLocalSandboxProvider

_REQUIREMENTS: Final = "requirements.txt"
_REQUIREMENT: Final = re.compile(r"(?P<name>[A-Za-z0-9][\w.-]*)")


def deploy(agent: Agent, *, update: bool, install: bool, dry_run: bool) -> None:
    """Register an agent's folder as a local template.

    Raises:
        UsageError: The manifest has another file name, or there is nothing to install.
        CommandError: Another folder has that name, or the installation failed.
    """
    from ppio_agent_client import SyncLocalSandboxProvider

    if agent.file.name != MANIFEST_FILE:
        raise UsageError(f"Local templates are read from {MANIFEST_FILE}, not from {agent.file.name}.")
    if install and not (agent.folder / _REQUIREMENTS).is_file():
        raise UsageError(f"--install needs {agent.folder / _REQUIREMENTS}, which is not there.")
    provider = SyncLocalSandboxProvider()
    _refuse_to_overwrite(provider, agent, update)
    if dry_run:
        _tell(agent, None, dry_run=True)
        return
    python = environment_for(provider.home, agent.folder / _REQUIREMENTS) if install else None
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
    requirements = agent.folder / _REQUIREMENTS
    if requirements.is_file():
        missing += [name for name in _names(read_text(requirements)) if not _is_installed(name) and name not in missing]
    if missing:
        screen.warn(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed for {sys.executable}, which "
            f"agents run with; add --install, or run: pip install -r {_REQUIREMENTS}"
        )


def _names(requirements: str) -> list[str]:
    lines = (line.strip() for line in requirements.splitlines())
    found = (_REQUIREMENT.match(line) for line in lines if "://" not in line and "/" not in line.split("#")[0])
    return [name["name"] for name in found if name is not None]


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _tell(agent: Agent, python: Path | None, *, dry_run: bool) -> None:
    document = {
        "template_id": agent.name,
        "name": agent.name,
        "version": agent.manifest.metadata.version,
        "local": True,
        "status": "deployed",
        "folder": os.path.realpath(agent.folder),
        "python": None if python is None else str(python),
    }
    if dry_run:
        screen.result(
            document | {"dry_run": True, "status": "pending"}, f"Nothing was done. {agent.name} would be copied."
        )
        return
    screen.result(document, f"Deployed {agent.name} {agent.manifest.metadata.version} on this machine.")
    screen.hint(f'Ask it: ppio-agent invoke --local --template-id {agent.name} --input "hello"')
