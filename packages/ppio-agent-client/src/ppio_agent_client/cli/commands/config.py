"""`ppio-agent config`: every setting and where its value comes from, secrets masked."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import typer

from ppio_agent_models import MANIFEST_FILE

from ..messages import later, tr
from ..options import Local
from ..output import screen
from ..project import has_runtime, project_python
from ..targets import MASK, without_credentials

app: typer.Typer = typer.Typer(add_completion=False)

_HOME_VARIABLE: Final = "PPIO_AGENT_HOME"
_ANSWER_SECONDS: Final = 60
_TITLES: Final = {"client": later("client setting"), "agent": later("agent setting")}


class Setting(NamedTuple):
    """One setting, as it is shown."""

    side: str
    name: str
    value: Any
    origin: str
    variable: str | None


@app.command()
def config(local: Local = False) -> None:
    """Show every setting and where its value comes from.

    Shows the settings of the client and, in an agent's folder, those that the agent would have here. Secrets are
    masked.
    """
    found = [*_client(local), *_agent(Path.cwd())]
    document: dict[str, Any] = {"client": {}, "agent": {}}
    for setting in found:
        facts = {"value": setting.value, "origin": setting.origin, "variable": setting.variable}
        document[setting.side][setting.name] = facts
    if screen.as_json:
        screen.result(document)
        return
    for side in filter(document.get, document):
        if side != "client":
            screen.text("\n")
        rows = [(one.name, _shown(one.value), _from(one)) for one in found if one.side == side]
        screen.table(document, (tr(_TITLES[side]), tr("value"), tr("from")), rows)
    if not document["agent"]:
        screen.note(tr("In an agent's folder, with ppio-agent-runtime installed, its settings are shown too."))


def _client(local: bool) -> Iterator[Setting]:
    from ppio_agent_client import ClientConfig, SyncAgentRuntimeClient

    with SyncAgentRuntimeClient(provider="local" if local else None) as client:
        effective = client.config
    variables = ClientConfig.variables()
    for name, field in ClientConfig.model_fields.items():
        value, variable = getattr(effective, name), variables.get(name)
        origin = "environment" if variable and os.environ.get(variable) else later("default")
        if name == "provider" and local:
            origin = later("argument")
        shown = _plain(value) if field.repr or value is None else MASK
        yield Setting("client", name, shown, origin, variable)
    home = os.environ.get(_HOME_VARIABLE)
    shown = home or str(Path("~/.ppio-agent").expanduser())
    yield Setting("client", "home", shown, "environment" if home else "default", _HOME_VARIABLE)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return without_credentials(value)
    return value if value is None or isinstance(value, int | float | bool) else type(value).__name__


def _agent(folder: Path) -> Iterator[Setting]:
    """Yield the settings that the runtime reports; nothing if there is no agent or no runtime."""
    python = project_python(folder)
    if not (folder / MANIFEST_FILE).is_file() or not has_runtime(python):
        return
    command = [python, "-m", "ppio_agent_runtime", "--show-config", "--json"]
    try:
        told = subprocess.run(command, cwd=folder, capture_output=True, timeout=_ANSWER_SECONDS, check=True)
        settings: dict[str, Any] = json.loads(told.stdout)
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        screen.warn(tr("the settings of the agent in this folder cannot be read: {reason}", reason=_reason(error)))
        return
    for name, facts in settings.items():
        yield Setting("agent", name, facts["value"], facts["origin"], facts.get("variable"))


def _reason(error: Exception) -> str:
    said = getattr(error, "stderr", None) or b""
    lines = said.decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else str(error)


def _from(setting: Setting) -> str:
    if setting.variable and setting.origin == "environment":
        return setting.variable
    return tr(setting.origin)


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "-" if value is None else json.dumps(value, ensure_ascii=False, default=str)
