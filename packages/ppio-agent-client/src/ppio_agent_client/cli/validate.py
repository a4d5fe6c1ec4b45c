"""`ppio-agent validate`: what is wrong with an agent's folder, before somebody waits for a build."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final

import typer

from ppio_agent_models import AgentManifest, ConfigurationError, ManifestDocument

from ._checks.findings import Finding, Severity, error
from ._checks.platform import check_dockerfile, check_size
from ._checks.program import check_program
from ._checks.requirements import check_requirements
from ._checks.schema import check_schema
from ._checks.secrets import check_secrets
from ._failures import EXIT_FAILED
from ._manifest_file import manifest_path, read_text
from ._options import Folder
from ._output import screen
from ._python import project_python

app = typer.Typer(add_completion=False)

_PLACE: Final = re.compile(r", line (\d+), column \d+: (.*)", re.DOTALL)


@app.command()
def validate(
    folder: Folder = Path(),
    no_import: Annotated[bool, typer.Option("--no-import", help="Do not run the agent's program.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Let a warning fail it too.")] = False,
) -> None:
    """Check an agent's folder before it is deployed.

    Looks at the manifest, the program (which is imported with the folder's own Python), requirements.txt, the
    Dockerfile, the sizes that the platform has, and secrets where they should not be. Exit code 1 if there is an error.
    """
    manifest = manifest_path(folder)
    with screen.working(f"Checking {manifest.parent.resolve().name}"):
        found = sorted(_findings(manifest, imports=not no_import), key=lambda one: (one.file, one.line))
    failed = any(strict or finding.severity is Severity.ERROR for finding in found)
    shown = "\n".join(map(str, found)) or f"{manifest.parent.resolve().name} is fine."
    screen.result({"ok": not failed, "findings": [finding.document() for finding in found]}, shown)
    if found:
        errors = sum(finding.severity is Severity.ERROR for finding in found)
        screen.note(f"{_count(errors, 'error')}, {_count(len(found) - errors, 'warning')}.")
    if failed:
        raise typer.Exit(EXIT_FAILED)


def _findings(path: Path, *, imports: bool) -> Iterator[Finding]:
    folder, file, text = path.parent, path.name, read_text(path)
    yield from check_secrets(file, text)
    yield from check_requirements(folder)
    yield from check_dockerfile(folder)
    try:
        document = ManifestDocument.parse(text, source=file)
    except ConfigurationError as problem:
        place = _PLACE.search(str(problem))
        yield error("yaml", file, int(place[1]) if place else 1, place[2] if place else str(problem))
        return
    yield from check_schema(file, document)
    try:
        manifest = AgentManifest.from_document(document)
    except ConfigurationError:
        return  # told above
    yield from check_size(file, document, manifest)
    named_at = file, document.line_of(("spec", "entrypoint"))
    yield from check_program(folder, project_python(folder), manifest, named_at, imports=imports)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
