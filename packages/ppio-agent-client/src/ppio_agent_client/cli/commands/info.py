"""`ppio-agent info`: one template."""

from __future__ import annotations

import typer

from ..options import Local, TemplateId
from ..output import screen
from ..rendering import exact
from ..targets import client_of, command

app = typer.Typer(add_completion=False)


@app.command()
def info(template_id: TemplateId, local: Local = False) -> None:
    """Show one template."""
    with client_of(local) as client:
        template = client.get_template(template_id)
    rows = [
        ("template", template.template_id),
        ("name", template.name),
        ("version", template.version),
        ("status", template.status),
        ("description", template.description),
        ("author", template.author),
        ("tags", ", ".join(template.tags)),
        ("created", exact(template.created_at)),
        ("updated", exact(template.updated_at)),
        *((name, value) for name, value in template.metadata.items() if isinstance(value, str) and len(value) <= 200),
    ]
    shown = "".join(f"{name:<12} {value}\n" for name, value in rows if value)
    screen.result(template.model_dump(mode="json"), shown)
    screen.note(f"Ask it: {command('invoke', '--template-id', template.template_id, '--input ...', local=local)}")
