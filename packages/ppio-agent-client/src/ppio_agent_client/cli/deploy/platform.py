"""`deploy` to the platform, from the plan to the status in the manifest."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from ..errors import CommandError
from ..messages import ntr, tr
from ..output import screen
from ..project import write_status
from ..targets import check_key
from . import builder
from .builder import Build, Failure
from .plan import Plan, readable_size, show

if TYPE_CHECKING:
    from rich.progress import Progress

_STEP: Final = re.compile(r"\[(?:[a-z ]+)?(?P<number>\d+)(?:/\d+)?\]")
_OF_THE_SDK: Final = ("Requesting build", "Template created", "All file uploads", "Starting building")
_BUILDING: Final = "building from"
_LAST_LINES: Final = 20
_WIDE_COLUMNS: Final = 60
"""Minimum width of the terminal, in columns, to show a bar."""


def show_dry_run(plan: Plan) -> None:
    """Show what would be built, and send nothing."""
    show(plan)
    screen.note(tr("Steps:"))
    for step in plan.build.instructions:
        screen.note(f"  {step}")
    screen.result(plan.document, tr("Nothing was sent. {name} would be built.", name=plan.agent.name))


def deploy_to_platform(plan: Plan, *, update: bool, timeout: float) -> None:
    """Build a template on the platform, wait for it, and write the result into the manifest."""
    builder.check_domain()
    check_key()
    show(plan)
    earlier = _earlier(plan)
    if earlier is None:
        _refuse_to_overwrite(plan, update)
    with _progress(plan) as log:
        build = earlier or _begun(plan, log, timeout)
        try:
            failure = builder.follow(build, log, timeout=timeout)
        except KeyboardInterrupt:
            screen.note(tr("The platform continues the build. Run the same command to wait for it again."))
            raise
    if failure is not None:
        write_status(plan.agent, {"phase": "failed", "build_id": build.build_id})
        raise _failed(plan, build, failure)
    write_status(plan.agent, {"phase": "deployed", "last_deployed": _now()})
    _tell(plan, build, resumed=earlier is not None)


def _earlier(plan: Plan) -> Build | None:
    """Return an earlier build of the same files that was not waited for, and show what happens to it."""
    status = plan.agent.status
    if status.get("phase") != "building" or not (status.get("build_id") and status.get("template_id")):
        return None
    build = Build(str(status["template_id"]), str(status["build_id"]), plan.agent.name, tuple(plan.tags))
    if status.get("digest") != plan.digest:
        screen.note(
            tr(
                "The earlier build {build_id} was not finished, and files have changed since: starting a new one.",
                build_id=build.build_id,
            )
        )
        return None
    running = builder.is_running(build)
    if running is False:
        screen.note(tr("The earlier build {build_id} failed: starting a new one.", build_id=build.build_id))
        return None
    if running:
        screen.note(tr("The earlier build {build_id} is still running: waiting for it.", build_id=build.build_id))
    else:
        screen.note(tr("The earlier build {build_id} is finished: using it.", build_id=build.build_id))
    return build


def _refuse_to_overwrite(plan: Plan, update: bool) -> None:
    if update or plan.agent.status.get("template_id") or not builder.exists(plan.agent.name):
        return
    raise CommandError(
        tr(
            "The platform already has a template {name!r}, and {file} does not say that it is this agent's.",
            name=plan.agent.name,
            file=plan.agent.file.name,
        ),
        hint=tr("To rebuild it under the same ID, add --update. Or change the agent's name in the manifest."),
    )


def _begun(plan: Plan, log: builder.Log, timeout: float) -> Build:
    build = builder.begin(plan, log, timeout=timeout)
    write_status(
        plan.agent,
        {
            "phase": "building",
            "agent_id": f"{plan.agent.name.replace('-', '_')}-{build.template_id}",
            "template_id": build.template_id,
            "build_id": build.build_id,
            "digest": plan.digest,
        },
    )
    return build


@contextmanager
def _progress(plan: Plan) -> Iterator[builder.Log]:
    """Yield a function that shows a line of the log, on a terminal with the step and the time below."""
    begun = time.monotonic()
    if not screen.is_animated:
        yield lambda level, text: screen.note(text.rstrip()) if _is_shown(text) else None
    else:
        with _bar() as bar:
            task = bar.add_task(tr("Uploading"), total=len(builder.steps_of(plan)))

            def show_line(level: str, text: str) -> None:
                if found := _STEP.match(text):
                    bar.update(task, completed=int(found["number"]), description=text[found.end() :].strip())
                elif text.startswith(_BUILDING):
                    bar.update(task, description=tr("Building"))
                if _is_shown(text):
                    style = {"error": "red", "warn": "yellow"}.get(level, "dim")
                    bar.console.print(text.rstrip(), style=style, markup=False, highlight=False)

            yield show_line
    screen.note(tr("Took {seconds:.2f} s.", seconds=time.monotonic() - begun), "dim")


def _bar() -> Progress:
    """Return a line with the step, the progress and the elapsed time, cut to the width of the terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    what = TextColumn(
        "{task.description}", markup=False, table_column=Column(ratio=1, no_wrap=True, overflow="ellipsis")
    )
    columns: list[ProgressColumn] = [what, MofNCompleteColumn(), TimeElapsedColumn()]
    console = screen.console()
    if console.width >= _WIDE_COLUMNS:
        columns.insert(1, BarColumn(bar_width=20))
    return Progress(*columns, console=console, transient=True, expand=True)


def _is_shown(text: str) -> bool:
    return screen.verbose or not text.startswith(_OF_THE_SDK)


def _failed(plan: Plan, build: Build, failure: Failure) -> CommandError:
    unseen = [line for line in failure.log if line != failure.message] if screen.quiet or screen.as_json else []
    log = "".join(f"\n  {line}" for line in unseen[-_LAST_LINES:])
    facts = {"template_id": build.template_id, "build_id": build.build_id, "step": failure.step, "log": failure.log}
    message = f"{_where_it_failed(plan, failure.step)}: {failure.message}{log}"
    return CommandError(message, hint=tr("Fix it and run the same command again."), facts=facts)


def _where_it_failed(plan: Plan, step: int | None) -> str:
    if step is None:
        return tr("The build failed")
    line = builder.line_of(plan, step)
    if line is None:
        return tr("The build failed in step {step}", step=step)
    command = next(str(one) for one in plan.build.instructions if one.line == line)
    return tr("The build failed in line {line} of the Dockerfile ({command})", line=line, command=command)


def _tell(plan: Plan, build: Build, *, resumed: bool) -> None:
    document = {
        "template_id": build.template_id,
        "name": plan.agent.name,
        "version": plan.agent.manifest.metadata.version,
        "local": False,
        "status": "deployed",
        "build_id": build.build_id,
        "tags": list(build.tags),
        "files": len(plan.context.files),
        "bytes": plan.context.size,
        "resumed": resumed,
    }
    screen.result(
        document,
        tr("Deployed {name} as the template {template_id}.", name=plan.agent.name, template_id=build.template_id),
    )
    screen.detail(
        ntr(
            "{n} file, {size}, build {build_id}",
            "{n} files, {size}, build {build_id}",
            len(plan.context.files),
            size=readable_size(plan.context.size),
            build_id=build.build_id,
        )
    )
    screen.note(
        tr("Call it: {command}", command=f'ppio-agent invoke --template-id {build.template_id} --input "hello"')
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
