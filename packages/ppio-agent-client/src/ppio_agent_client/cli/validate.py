"""`ppio-agent validate`: what is wrong with an agent's folder, before somebody waits for a build."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from ppio_agent_models import AgentManifest, ConfigurationError

from ._checks.findings import Finding, Severity
from ._checks.platform import check_dockerfile, check_size
from ._checks.program import check_program
from ._checks.requirements import check_requirements
from ._checks.schema import Lines, check_schema, line_of
from ._checks.secrets import check_secrets
from ._failures import EXIT_FAILED
from ._manifest_file import lines_of, manifest_path, read_text
from ._options import Folder
from ._output import screen
from ._python import project_python

app = typer.Typer(add_completion=False)


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
    lines, document = _read_as_yaml(text)
    yield from check_schema(file, text, lines, document)
    yield from check_secrets(file, text)
    yield from check_requirements(folder)
    yield from check_dockerfile(folder)
    try:
        manifest = AgentManifest.from_yaml(text, source=file)
    except ConfigurationError:
        return  # told above
    yield from check_size(file, lines, manifest)
    place = file, line_of(lines, ("spec", "entrypoint"))
    yield from check_program(folder, project_python(folder), manifest, place, imports=imports)


def _read_as_yaml(text: str) -> tuple[Lines, Any]:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return lines_of(text), YAML().load(text)
    except YAMLError:
        return {}, None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
