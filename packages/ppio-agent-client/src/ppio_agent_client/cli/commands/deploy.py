"""`ppio-agent deploy`: from a folder to a template, on the platform or on this machine."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from ppio_agent_models import MANIFEST_FILE

from ..errors import CommandError, UsageError
from ..messages import tr
from ..options import Local
from ..project import Agent, read_agent
from ..targets import check_templates_are_ours, is_local

app: typer.Typer = typer.Typer(add_completion=False)

Config = Annotated[Path, typer.Option("--config", "-c", metavar="PATH", help="The agent's manifest, or its folder.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be sent and built; send nothing.")]
Update = Annotated[
    bool, typer.Option("--update", help="Replace a template of this name that was deployed from another folder.")
]
Tag = Annotated[list[str] | None, typer.Option("--tag", metavar="TAG", help="A tag for this build; may be repeated.")]
Prestart = Annotated[
    bool,
    typer.Option(
        "--prestart",
        help="Start the agent while the template is built: sandboxes start faster, but --env has no effect.",
    ),
]
Install = Annotated[
    bool,
    typer.Option(
        "--install",
        help="With --local: install requirements.txt or pyproject.toml into a virtual environment of the template.",
    ),
]
NoImport = Annotated[bool, typer.Option("--no-import", help="With --local: do not import the agent first.")]
Timeout = Annotated[
    float, typer.Option("--timeout", min=1, metavar="SECONDS", help="Longest time to wait for the build.")
]


@app.command()
def deploy(
    config: Config = Path(MANIFEST_FILE),
    local: Local = False,
    dry_run: DryRun = False,
    update: Update = False,
    tag: Tag = None,
    prestart: Prestart = False,
    install: Install = False,
    no_import: NoImport = False,
    timeout: Timeout = 1800,
) -> None:
    """Make a template of an agent, which sandboxes are started from."""
    check_templates_are_ours(local)
    here = is_local(local)
    if here and (tag or prestart):
        raise UsageError(tr("--tag and --prestart are for the platform; a local template has neither."))
    if (install or no_import) and not here:
        raise UsageError(tr("--install and --no-import are for --local; on the platform the Dockerfile installs."))
    agent = read_agent(config)
    if here:
        from ..deploy.local import deploy_locally

        check = None if no_import else partial(_check, agent)
        deploy_locally(agent, update=update, install=install, dry_run=dry_run, check=check)
        return
    from ..deploy.plan import plan_of
    from ..deploy.platform import deploy_to_platform, show_dry_run

    plan = plan_of(agent, prestart=prestart, tags=tag or [])
    if dry_run:
        show_dry_run(plan)
    else:
        deploy_to_platform(plan, update=update, timeout=timeout)


def _check(agent: Agent, python: str) -> None:
    """Import an agent as its sandboxes will.

    Raises:
        CommandError: It cannot be started.
    """
    from ..checks.files import check_program

    named_at = agent.file.name, 1
    for finding in check_program(agent.folder, python, agent.manifest, named_at, imports=True):
        raise CommandError(
            tr("{name} was not deployed, because it cannot be started.\n  {finding}", name=agent.name, finding=finding),
            hint=tr(
                "If a package is missing, add --install. If it needs variables that are not set yet, add --no-import."
            ),
            facts={"file": finding.file, "line": finding.line},
        )
