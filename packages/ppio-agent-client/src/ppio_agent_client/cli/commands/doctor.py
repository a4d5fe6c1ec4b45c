"""`ppio-agent doctor`: checks what is installed, configured and reachable, with a hint for each problem."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final

import typer

from ..doctor import Check, State
from ..doctor.agent import check_agent, check_index
from ..doctor.environment import check_access, check_home, check_versions
from ..errors import EXIT_FAILED
from ..messages import later, tr
from ..output import padded, screen, width

_NAMES: Final = (
    later("installed"),
    later("platform"),
    later("local"),
    later("agent"),
    later("interpreter"),
    later("index"),
    later("key"),
    later("domain"),
    later("provider"),
    later("home"),
    later("templates"),
    later("sandboxes"),
    later("stale"),
    later("manifest"),
    later("name"),
    later("protocols"),
    later("start"),
)
"""Topics and names of checks to translate; the others are names of packages and extras."""

app: typer.Typer = typer.Typer(add_completion=False)

_SIGNS: Final = {State.OK: " ", State.NOTE: "-", State.WARNING: "!", State.ERROR: "x"}


@app.command()
def doctor() -> None:
    """Check what is installed, configured and reachable.

    Every check has a time limit. In an agent's folder, the agent is also imported, to see how long its start takes. The
    exit code is 1 if there is an error.
    """
    with screen.working(tr("Checking what is installed")) as tell:
        found = list(_checks(tell))
    failed = any(check.state is State.ERROR for check in found)
    document = {"ok": not failed, "checks": [asdict(check) | {"name": check.name.strip()} for check in found]}
    screen.result(document, _shown(found))
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _checks(tell: Callable[[str], None]) -> Iterator[Check]:
    yield from check_versions()
    tell(tr("Asking the package index"))
    yield from check_index(Path.cwd())
    tell(tr("Asking the platform"))
    yield from check_access()
    tell(tr("Checking local sandboxes and templates"))
    yield from check_home()
    tell(tr("Importing the agent"))
    yield from check_agent(Path.cwd())


def _shown(found: list[Check]) -> str:
    """Return the checks as text: one line each, grouped by topic, with its hint below."""
    columns = max(width(_name(check)) for check in found)
    lines, topic = list[str](), ""
    for check in found:
        if check.topic != topic:
            lines += [*([""] if topic else []), tr(check.topic)]
            topic = check.topic
        lines.append(f"{_SIGNS[check.state]} {padded(_name(check), columns)}  {check.value}")
        if check.hint:
            lines.append(f"    -> {check.hint}")
    return "\n".join(lines)


def _name(check: Check) -> str:
    return tr(check.name) if check.name in _NAMES else check.name
