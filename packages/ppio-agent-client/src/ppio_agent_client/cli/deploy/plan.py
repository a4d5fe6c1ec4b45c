"""The plan of a build on the platform: files, image and steps. Nothing is sent here."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Final, NamedTuple

from ppio_agent_models import AGENT_PORT, MANIFEST_FILE, ConfigurationError

from ..messages import later, ntr, tr
from ..output import screen
from ..project import Agent, is_script, read_text, sent_manifest
from ..requirements import missing_for
from .context import Context, collect
from .dockerfile import BuildFile, Instruction, read_dockerfile

APP_FOLDER: Final = "/app"
START_COMMAND: Final = f"cd {APP_FOLDER} && exec python -m ppio_agent_runtime"
READY_COMMAND: Final = (
    "python -c \"from urllib.request import urlopen; urlopen('http://127.0.0.1:8080/ping', timeout=2)\""
)
PRESTART_COST: Final = later(
    "--prestart starts the agent while the template is built: sandboxes answer at once, but the agent gets neither "
    "--env nor the session's own token, so anyone who knows a sandbox's address can call it."
)
DOCKERFILES: Final = ("ppio.Dockerfile", "Dockerfile")
_SHOWN_FILES: Final = 20
MAX_CPUS: Final = 8
MEMORY_STEP_MIB: Final = 512
MAX_MEMORY_MIB: Final = 8192
_MAX_MIB_PER_CPU: Final = 4096


@dataclass(frozen=True, slots=True)
class Plan:
    """A template to build.

    Attributes:
        manifest: The text of the manifest to send.
        prestart: Whether the agent is started while the template is built.
        warnings: What to show before the build.
    """

    agent: Agent
    build: BuildFile
    context: Context
    size: Size
    manifest: str
    prestart: bool
    tags: list[str]
    warnings: list[str] = field(default_factory=list)

    @property
    def start_command(self) -> str | None:
        """The command that starts the agent while the template is built, or None."""
        entrypoint = self.agent.manifest.spec.entrypoint
        if self.prestart and is_script(self.agent.folder, entrypoint):
            places = f"PORT={AGENT_PORT} PPIO_AGENT_PORT={AGENT_PORT} PPIO_AGENT_HOST=0.0.0.0"
            return f"cd {APP_FOLDER} && {places} exec python {shlex.quote(f'./{entrypoint}')}"
        return START_COMMAND if self.prestart else None

    @property
    def digest(self) -> str:
        """A hash of the build, equal for equal templates."""
        return self.context.digest(self.manifest, self.build.text, str(self.size), str(self.prestart), *self.tags)

    @property
    def document(self) -> dict[str, Any]:
        """The plan as a JSON document."""
        return {
            "name": self.agent.name,
            "version": self.agent.manifest.metadata.version,
            "local": False,
            "dry_run": True,
            "image": self.build.image,
            "cpus": self.size.cpus,
            "memory_mib": self.size.memory_mib,
            "tags": self.tags,
            "files": [{"path": file.path, "size": file.size} for file in self.context.files],
            "bytes": self.context.size,
            "steps": [str(step) for step in self.build.instructions],
            "start_command": self.start_command,
            "warnings": self.warnings,
            "notes": self.build.notes,
        }


def plan_of(agent: Agent, *, prestart: bool, tags: list[str]) -> Plan:
    """Return the plan of an agent's deployment.

    Raises:
        ConfigurationError: Something in it cannot be built; the message has the place.
    """
    build = _build_file(agent)
    context = collect(agent.folder, build.sources)
    _resolve(build, context)
    build.instructions.append(Instruction(0, "COPY", f"{MANIFEST_FILE} {APP_FOLDER}/{MANIFEST_FILE}"))
    manifest = sent_manifest(agent)
    context = context.with_file(MANIFEST_FILE, len(manifest.encode()))
    runtime = agent.manifest.spec.runtime
    plan = Plan(
        agent=agent,
        build=build,
        context=context,
        size=size_of(runtime.cpu_limit, runtime.memory_limit),
        manifest=manifest,
        prestart=prestart,
        tags=tags,
    )
    plan.warnings.extend(_warnings(plan))
    return plan


def _resolve(build: BuildFile, context: Context) -> None:
    """Replace patterns of COPY by their matches, because a pattern without a match is an error on the platform.

    Raises:
        ConfigurationError: A file that is copied by name doesn't exist.
    """
    steps: list[Instruction] = []
    for step in build.instructions:
        found = [] if step.source is None else context.matches(step.source)
        if step.source is None or (found and not step.is_pattern):
            steps.append(step)
        elif step.is_pattern:
            steps.extend(step._replace(source=name) for name in found)
            if not found:
                build.details.append(
                    tr("{step} (line {line}) matches no file and is left out.", step=step, line=step.line)
                )
        else:
            raise ConfigurationError(
                tr(
                    "the Dockerfile copies {source!r} in line {line}, which is not in {folder} or is "
                    "excluded by .dockerignore",
                    source=step.source,
                    line=step.line,
                    folder=context.folder.resolve(),
                )
            )
    build.instructions[:] = steps


def show(plan: Plan) -> None:
    """Show what will be built."""
    version = plan.agent.manifest.metadata.version
    screen.note(
        tr("{agent} on {image}, {size}", agent=f"{plan.agent.name} {version}", image=plan.build.image, size=plan.size)
    )
    files_count = len(plan.context.files)
    screen.note(
        ntr(
            "{n} file to send, {size}:",
            "{n} files to send, {size}:",
            files_count,
            size=readable_size(plan.context.size),
        )
    )
    shown = plan.context.files if screen.verbose or files_count <= _SHOWN_FILES else plan.context.files[:_SHOWN_FILES]
    for file in shown:
        screen.note(f"  {readable_size(file.size):>9}  {file.path}")
    if len(shown) < files_count:
        screen.note(tr("  and {number} more; --verbose lists them", number=files_count - len(shown)))
    for detail in plan.build.details:
        screen.detail(detail)
    for note in plan.build.notes:
        screen.note(note)
    for warning in plan.warnings:
        screen.warn(warning)


def readable_size(total: int) -> str:
    """Return a number of bytes in a human-readable unit."""
    size = float(total)
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


def _build_file(agent: Agent) -> BuildFile:
    for name in DOCKERFILES:
        if (agent.folder / name).is_file():
            return read_dockerfile(read_text(agent.folder / name), source=name)
    if not (agent.folder / "requirements.txt").is_file():
        raise ConfigurationError(
            tr(
                "there is no requirements.txt in {folder}, and no Dockerfile: deploy has to know what to install. List "
                "the agent's packages in requirements.txt, ppio-agent-runtime among them",
                folder=agent.folder.resolve(),
            )
        )
    text = (files("ppio_agent_client.cli") / "_templates" / "common" / "Dockerfile").read_text(encoding="utf-8")
    build = read_dockerfile(text, source=tr("the Dockerfile of `init`"))
    build.notes[:] = [tr("There is no Dockerfile in the folder; the one that `ppio-agent init` writes is used.")]
    return build


def _warnings(plan: Plan) -> list[str]:
    found = []
    if plan.context.secrets:
        found.append(
            tr(
                "{files} would become part of the template; exclude secrets in .dockerignore, and pass them with "
                "--env when you call the agent.",
                files=", ".join(plan.context.secrets),
            )
        )
    if plan.context.unnamed:
        found.append(
            tr(
                "not sent, because the name is not UTF-8: {files}",
                files=", ".join(map(ascii, plan.context.unnamed)),
            )
        )
    if plan.context.strays:
        found.append(
            tr("not sent, because the link points out of the folder: {files}", files=", ".join(plan.context.strays))
        )
    if not any(APP_FOLDER in step.value for step in plan.build.instructions[:-1]):
        found.append(
            tr(
                "the Dockerfile does not mention {folder}, where the agent is started; add WORKDIR {folder}.",
                folder=APP_FOLDER,
            )
        )
    if (missing := missing_for(plan.agent.manifest.spec.protocols, plan.agent.folder)) is not None:
        found.append(tr("the protocols of the manifest need the line {line} in requirements.txt.", line=missing))
    if plan.prestart:
        found.append(tr(PRESTART_COST))
    return found


class Size(NamedTuple):
    """CPUs and memory of a sandbox on the platform.

    As documented: 1 to 8 whole CPUs, 512 to 8192 MiB in steps of 512, and 512 to 4096 MiB for each CPU.
    """

    cpus: int
    memory_mib: int

    def __str__(self) -> str:
        return ntr("{n} CPU, {memory} MiB", "{n} CPUs, {memory} MiB", self.cpus, memory=self.memory_mib)


def size_of(cpu_limit: str | None, memory_limit: str | None) -> Size:
    """Return the size that a manifest requests; unset limits are chosen to fit, 2 CPUs and 1024 MiB if possible.

    Raises:
        ConfigurationError: The platform has no sandboxes of this size.
    """
    cpus = None if cpu_limit is None else _cpus(cpu_limit)
    memory = None if memory_limit is None else _memory_mib(memory_limit)
    if memory is None:
        memory = max(1024, (cpus or 0) * MEMORY_STEP_MIB)
    if cpus is None:
        cpus = min(2, memory // MEMORY_STEP_MIB)
    if not cpus * MEMORY_STEP_MIB <= memory <= cpus * _MAX_MIB_PER_CPU:
        raise ConfigurationError(
            tr(
                "{memory} MiB do not fit {cpus} CPUs: the platform gives each CPU {low} to {high} MiB; "
                "change cpu_limit or memory_limit in spec.runtime",
                cpus=cpus,
                memory=memory,
                low=MEMORY_STEP_MIB,
                high=_MAX_MIB_PER_CPU,
            )
        )
    return Size(cpus, memory)


def _cpus(limit: str) -> int:
    thousandths = int(limit.removesuffix("m")) * (1 if limit.endswith("m") else 1000)
    if thousandths % 1000 or not 1 <= thousandths // 1000 <= MAX_CPUS:
        raise ConfigurationError(
            tr(
                "spec.runtime.cpu_limit is {limit!r}; the platform has whole CPUs, 1 to {high}",
                limit=limit,
                high=MAX_CPUS,
            )
        )
    return thousandths // 1000


def _memory_mib(limit: str) -> int:
    mib = int(limit[:-2]) * (1024 if limit.endswith("Gi") else 1)
    if mib % MEMORY_STEP_MIB or not MEMORY_STEP_MIB <= mib <= MAX_MEMORY_MIB:
        raise ConfigurationError(
            tr(
                "spec.runtime.memory_limit is {limit!r}; the platform has {low}Mi to {high}Mi, in steps of {low}Mi",
                limit=limit,
                low=MEMORY_STEP_MIB,
                high=MAX_MEMORY_MIB,
            )
        )
    return mib
