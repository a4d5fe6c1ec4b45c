"""What is on this machine: local templates and sandboxes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ppio_agent_models import ConfigurationError

from .checks import Check, State, count


def check_home() -> Iterator[Check]:
    """Yield what is on this machine."""
    home = Path(os.environ.get("PPIO_AGENT_HOME") or "~/.ppio-agent").expanduser()
    if sys.platform == "win32":
        yield Check("local", "home", State.NOTE, "sandboxes on this machine need Linux or macOS")
        return
    if not home.is_dir():
        yield Check("local", "home", State.OK, f"{home} (not made yet)")
        return
    from ppio_agent_client import SyncLocalSandboxProvider

    try:
        provider = SyncLocalSandboxProvider()
        sandboxes, templates = provider.list_sandboxes(), provider.list_templates()
    except ConfigurationError as error:
        yield Check("local", "home", State.ERROR, str(error))
        return
    yield Check("local", "home", State.OK, f"{home}, {_size(home)}")
    yield Check("local", "templates", State.OK, count(len(templates), "template"))
    yield Check("local", "sandboxes", State.OK, _sandboxes(sandboxes))
    if gone := [template for template in templates if not Path(str(template.metadata.get("folder", "/"))).exists()]:
        names = ", ".join(template.template_id for template in gone)
        hint = f"ppio-agent delete --local --template-id {gone[0].template_id}"
        yield Check("local", "stale", State.NOTE, f"made from folders that are gone: {names}", hint)


def _sandboxes(sandboxes: Any) -> str:
    states: dict[str, int] = {}
    for sandbox in sandboxes:
        states[str(sandbox.state)] = states.get(str(sandbox.state), 0) + 1
    return ", ".join(f"{number} {state}" for state, number in states.items()) or "none live"


def _size(folder: Path) -> str:
    size = sum(path.lstat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    return f"{size / 1e6:.1f} MB"
