"""`deploy` to the platform, from the plan to the status in the manifest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Final

from ..errors import CommandError
from ..output import screen
from ..project import write_status
from ..targets import check_key
from . import builder
from .builder import Build, Failure
from .plan import Plan, readable_size, show

_STEP: Final = re.compile(r"\[(?:[a-z ]+)?(?P<number>\d+)(?:/\d+)?\]")
_OF_THE_SDK: Final = ("Requesting build", "Template created", "All file uploads", "Starting building")
_LAST_LINES: Final = 20


def show_dry_run(plan: Plan) -> None:
    """Show what would be done, and send nothing."""
    show(plan)
    screen.note("Steps:")
    for step in plan.build.instructions:
        screen.note(f"  {step}")
    screen.result(plan.document, f"Nothing was sent. {plan.agent.name} would be built.")


def deploy_to_platform(plan: Plan, *, update: bool, timeout: float) -> None:
    """Build a template on the platform and wait for it; write into the manifest what became of it."""
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
            screen.note("The build goes on, on the platform. The same command waits for it again.")
            raise
    if failure is not None:
        write_status(plan.agent, {"phase": "failed", "build_id": build.build_id})
        raise _failed(plan, build, failure)
    write_status(plan.agent, {"phase": "deployed", "last_deployed": _now()})
    _tell(plan, build, resumed=earlier is not None)


def _earlier(plan: Plan) -> Build | None:
    """Return a build that was left behind and is still what is wanted; say what becomes of it."""
    status = plan.agent.status
    if status.get("phase") != "building" or not (status.get("build_id") and status.get("template_id")):
        return None
    build = Build(str(status["template_id"]), str(status["build_id"]), plan.agent.name, tuple(plan.tags))
    if status.get("digest") != plan.digest:
        screen.note(f"The build {build.build_id} was left behind, and something has changed since: starting anew.")
        return None
    running = builder.is_running(build)
    if running is False:
        screen.note(f"The build {build.build_id} was left behind and did not end well: starting anew.")
        return None
    what = "goes on: waiting for it" if running else "is done: taking it"
    screen.note(f"The build {build.build_id} was left behind and {what}.")
    return build


def _refuse_to_overwrite(plan: Plan, update: bool) -> None:
    if update or plan.agent.status.get("template_id") or not builder.exists(plan.agent.name):
        return
    raise CommandError(
        f"The platform has a template {plan.agent.name!r} already, and {plan.agent.file.name} does not say that it is "
        "this one.",
        hint="To build it anew under the same id: --update. Or give the agent another name in the manifest.",
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
    """Give what shows a line of the log as it comes, with a bar under it on a terminal."""
    if not screen.is_animated:
        yield lambda level, text: screen.note(text.rstrip()) if _is_shown(text) else None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=screen.console(), transient=True) as bar:
        task = bar.add_task("Building", total=len(builder.steps_of(plan)))

        def show_line(level: str, text: str) -> None:
            if found := _STEP.match(text):
                bar.update(task, completed=int(found["number"]))
            if _is_shown(text):
                style = {"error": "red", "warn": "yellow"}.get(level, "dim")
                bar.console.print(text.rstrip(), style=style, markup=False, highlight=False)

        yield show_line


def _is_shown(text: str) -> bool:
    return screen.verbose or not text.startswith(_OF_THE_SDK)


def _failed(plan: Plan, build: Build, failure: Failure) -> CommandError:
    step = "" if failure.step is None else _step_in_words(plan, failure.step)
    unseen = [line for line in failure.log if line != failure.message] if screen.quiet or screen.as_json else []
    log = "".join(f"\n  {line}" for line in unseen[-_LAST_LINES:])
    facts = {"template_id": build.template_id, "build_id": build.build_id, "step": failure.step, "log": failure.log}
    message = f"The build failed{step}: {failure.message}{log}"
    return CommandError(message, hint="Mend it and run the same command again.", facts=facts)


def _step_in_words(plan: Plan, step: int) -> str:
    line = builder.line_of(plan, step)
    if line is None:
        return f" in step {step}"
    command = next(str(one) for one in plan.build.instructions if one.line == line)
    return f" in line {line} of the Dockerfile ({command})"


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
    screen.result(document, f"Deployed {plan.agent.name} as the template {build.template_id}.")
    screen.detail(f"{len(plan.context.files)} files, {readable_size(plan.context.size)}, build {build.build_id}")
    screen.note(f'Ask it: ppio-agent invoke --template-id {build.template_id} --input "hello"')


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
