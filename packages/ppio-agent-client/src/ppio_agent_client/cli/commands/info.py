"""`ppio-agent info`: one template."""

from __future__ import annotations

import typer

from ..messages import later, tr
from ..options import Local, TemplateId
from ..output import padded, screen
from ..rendering import exact
from ..targets import client_of, command

app: typer.Typer = typer.Typer(add_completion=False)


@app.command()
def info(template_id: TemplateId, local: Local = False) -> None:
    """Show one template."""
    with client_of(local) as client:
        template = client.get_template(template_id)
    rows = [
        (later("template"), template.template_id),
        (later("name"), template.name),
        (later("version"), template.version),
        (later("status"), template.status),
        (later("description"), template.description),
        (later("author"), template.author),
        (later("tags"), ", ".join(template.tags)),
        (later("protocols"), ", ".join(template.protocols)),
        (later("created"), exact(template.created_at)),
        (later("updated"), exact(template.updated_at)),
        *((name, value) for name, value in template.metadata.items() if isinstance(value, str) and len(value) <= 200),
    ]
    shown = "".join(f"{padded(tr(name), 12)} {value}\n" for name, value in rows if value)
    screen.result(template.model_dump(mode="json"), shown)
    screen.note(
        tr(
            "Call it: {command}",
            command=command("invoke", "--template-id", template.template_id, "--input ...", local=local),
        )
    )
