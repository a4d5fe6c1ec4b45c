"""`ppio-agent validate`: checks an agent's folder before it is deployed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ppio_agent_models import AgentManifest, ConfigurationError, ManifestDocument

from ..checks import Finding, Severity, located
from ..checks.files import check_dockerfile, check_program, check_protocols, check_requirements
from ..checks.manifest import check_schema, check_secrets, check_size
from ..errors import EXIT_FAILED
from ..messages import ntr, tr
from ..options import Folder
from ..output import screen
from ..project import manifest_path, names_script, project_python, read_text

app: typer.Typer = typer.Typer(add_completion=False)


@app.command()
def validate(
    folder: Folder = Path(),
    no_import: Annotated[bool, typer.Option("--no-import", help="Do not import the agent's program.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Fail on warnings, too.")] = False,
) -> None:
    """Check an agent's folder before it is deployed.

    Checks the manifest, the program (by importing it with the folder's own Python), requirements.txt, the Dockerfile,
    the size of the sandbox, and whether there are secrets in the manifest. The exit code is 1 if there is an error.
    """
    manifest = manifest_path(folder)
    with screen.working(tr("Checking {name}", name=manifest.parent.resolve().name)):
        found = sorted(_findings(manifest, imports=not no_import), key=lambda one: (one.file, one.line))
    failed = any(strict or finding.severity is Severity.ERROR for finding in found)
    shown = "\n".join(map(str, found)) or tr("{name} has no problems.", name=manifest.parent.resolve().name)
    screen.result({"ok": not failed, "findings": [asdict(finding) for finding in found]}, shown)
    if found:
        errors = sum(finding.severity is Severity.ERROR for finding in found)
        summary = ntr("{n} error", "{n} errors", errors), ntr("{n} warning", "{n} warnings", len(found) - errors)
        screen.note(tr("{errors}, {warnings}.", errors=summary[0], warnings=summary[1]))
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _findings(path: Path, *, imports: bool) -> Iterator[Finding]:
    folder, file, text = path.parent, path.name, read_text(path)
    yield from check_secrets(file, text)
    yield from check_dockerfile(folder)
    yield from check_requirements(folder, needs_runtime=not names_script(path))
    try:
        document = ManifestDocument.parse(text, source=file)
    except ConfigurationError as problem:
        yield located("yaml", file, problem)
        return
    yield from check_schema(file, document)
    try:
        manifest = AgentManifest.from_document(document)
    except ConfigurationError:
        return  # Reported above.
    yield from check_size(file, document, manifest)
    yield from check_protocols(folder, manifest.spec.protocols)
    named_at = file, document.line_of(("spec", "entrypoint"))
    yield from check_program(folder, project_python(folder), manifest, named_at, imports=imports)
