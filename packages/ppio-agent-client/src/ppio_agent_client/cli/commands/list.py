"""`ppio-agent list`: what sandboxes can be started from."""

from __future__ import annotations

import typer

from ..messages import tr
from ..options import Local
from ..output import screen
from ..rendering import ago
from ..targets import client_of, command

app: typer.Typer = typer.Typer(add_completion=False)


@app.command("list")
def list_templates(local: Local = False) -> None:
    """List the templates."""
    with client_of(local) as client:
        templates = client.list_templates()
    screen.table(
        [template.model_dump(mode="json") for template in templates],
        [tr("TEMPLATE"), tr("NAME"), tr("VERSION"), tr("STATUS"), tr("UPDATED")],
        [
            (one.template_id, one.name, one.version, one.status, ago(one.updated_at or one.created_at))
            for one in templates
        ],
    )
    if not templates:
        screen.note(tr("No templates yet. Make one: {command}", command=command("deploy", local=local)))
