"""An agent's folder: its manifest file and its Python interpreter."""

from __future__ import annotations

import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, distribution
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import MANIFEST_FILE, ConfigurationError, ManifestDocument
from ppio_agent_models._entrypoint import serves_by_itself, written_entrypoint

from .errors import UsageError
from .messages import tr
from .output import screen

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest
    from ppio_agent_models._manifest import UnknownField

RUNTIME_LINE: Final = "pip install ppio-agent-runtime"
_HAS_MODULE: Final = "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)"
_PLAIN: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_WORDS: Final = {"false", "n", "no", "null", "off", "on", "true", "y", "yes"}
"""Plain scalars that YAML 1.1 parsers read as another type."""


def manifest_path(path: Path) -> Path:
    """Return the path of a manifest, given as a file or as its folder.

    Raises:
        UsageError: There is none.
    """
    if not path.exists() and path.name != MANIFEST_FILE:
        raise UsageError(tr("{path} does not exist.", path=path))
    found = path / MANIFEST_FILE if path.is_dir() else path
    if not found.is_file():
        raise UsageError(
            tr("There is no {manifest} in {folder}.", manifest=MANIFEST_FILE, folder=_shown(found.parent)),
            hint=tr("Create one: {command}", command="ppio-agent init"),
        )
    return found


def read_text(path: Path) -> str:
    """Return the content of a file of the agent.

    Raises:
        UsageError: It cannot be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            tr(
                "{source} is not UTF-8: byte {position} is 0x{byte:02x}.",
                source=path,
                position=error.start,
                byte=error.object[error.start],
            )
        ) from error
    except OSError as error:
        raise UsageError(tr("{path} cannot be read: {reason}.", path=path, reason=error.strerror or error)) from error


def read_manifest(path: Path) -> AgentManifest:
    """Return the manifest in a file, and warn about unknown fields.

    Raises:
        ConfigurationError: It is not YAML, or a field is missing or invalid; the message names each one.
    """
    from ppio_agent_models import AgentManifest  # Imports pydantic.

    document = ManifestDocument.parse(read_text(path), source=path.name)
    logging.getLogger("ppio_agent_client.manifest").disabled = True  # It would warn a second time.
    for field in document.unknown_fields():
        screen.warn(f"{path.name}:{field.line}: {about_unknown(field)}")
    return AgentManifest.from_document(document)


def about_unknown(field: UnknownField) -> str:
    """Return the text of `str(field)`, in the user's language."""
    name = ".".join(field.path)
    if field.nearest:
        return tr("unknown field {field!r}, ignored; did you mean {nearest!r}?", field=name, nearest=field.nearest)
    return tr("unknown field {field!r}, ignored; known here: {known}", field=name, known=", ".join(sorted(field.known)))


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent's folder with its manifest."""

    file: Path
    manifest: AgentManifest

    @property
    def folder(self) -> Path:
        """The folder that is deployed."""
        return self.file.parent

    @property
    def name(self) -> str:
        """The name of the agent and of its template."""
        return self.manifest.metadata.name

    @property
    def status(self) -> dict[str, Any]:
        """The status of the last deployment."""
        return self.manifest.status or {}


def read_agent(config: Path) -> Agent:
    """Return the agent of a manifest, or of a folder with one.

    Raises:
        UsageError: There is none.
        ConfigurationError: The manifest is invalid, or its entrypoint does not exist.
    """
    file = manifest_path(config)
    agent = Agent(file, read_manifest(file))
    entrypoint = agent.manifest.spec.entrypoint
    if entrypoint.endswith(".py") and not (agent.folder / entrypoint).is_file():
        raise ConfigurationError(
            tr("{file} names the entrypoint {entrypoint!r}, which does not exist", file=file, entrypoint=entrypoint)
        )
    return agent


def without_status(text: str) -> str:
    """Return a manifest without its status, which would make each deployment differ from the previous one."""
    return _with_status(text, {})


def sent_manifest(agent: Agent) -> str:
    """Return the text of the manifest to send."""
    return without_status(read_text(agent.file))


def write_status(agent: Agent, status: dict[str, object]) -> None:
    """Set fields of the status and keep the rest of the text; warn if the file cannot be written.

    Args:
        agent: The agent.
        status: Field names to values; None removes a field.
    """
    text = read_text(agent.file)
    known = _status_in(text) | status
    wanted = {name: value for name, value in known.items() if value is not None}
    text = _with_status(text, wanted)
    if _status_in(text).keys() != wanted.keys():  # The file's layout doesn't allow a status to be added.
        screen.warn(
            tr(
                "the status cannot be written to {file}: remove the indentation of its top-level fields.",
                file=agent.file,
            )
        )
        return
    file = Path(os.path.realpath(agent.file))
    draft = file.with_name(f"{file.name}.{os.getpid()}.new")
    line_end = "\r\n" if b"\r\n" in file.read_bytes() else "\n"
    try:
        draft.write_text(text, encoding="utf-8", newline=line_end)
        draft.chmod(file.stat().st_mode & 0o777)
        draft.replace(file)
    except OSError as error:
        screen.warn(
            tr(
                "the status cannot be written to {file}: {reason}.",
                file=agent.file,
                reason=error.strerror or error,
            )
        )
    finally:
        draft.unlink(missing_ok=True)


def project_python(folder: Path) -> str:
    """Return the interpreter in the folder's `.venv`, else that of the active environment, else this one."""
    active = os.environ.get("VIRTUAL_ENV")
    for environment in (folder / ".venv", *([Path(active)] if active else [])):
        place = environment / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
        if place.is_file():
            return str(place.absolute())
    return sys.executable


def is_script(agent: Path, entrypoint: str) -> bool:
    """Return whether an entrypoint is a script with its own server, which doesn't use the runtime.

    Args:
        agent: The agent's folder.
        entrypoint: The entrypoint in the manifest.
    """
    file = agent / entrypoint
    return entrypoint.endswith(".py") and file.is_file() and serves_by_itself(file.read_bytes())


def names_script(manifest: Path) -> bool:
    """Return whether a manifest, valid or not, names such a script."""
    with suppress(ConfigurationError):
        entrypoint = written_entrypoint(read_text(manifest), source=manifest.name)
        return entrypoint is not None and is_script(manifest.parent, entrypoint)
    return False


def script_runner() -> str:
    """Return the path of the program that runs such a script on a given port."""
    return str(files("ppio_agent_client") / "local" / "script.py")


def is_from_checkout() -> bool:
    """Return whether this SDK was installed from a folder or a file instead of an index (PEP 610)."""
    with suppress(PackageNotFoundError):
        return distribution("ppio-agent-client").read_text("direct_url.json") is not None
    return True


def check_runtime(python: str) -> None:
    """Check that agents can run with an interpreter.

    Raises:
        UsageError: It has no runtime; the hint has the command that installs it.
    """
    if not has_runtime(python):
        line = RUNTIME_LINE if python == sys.executable else f"{python} -m {RUNTIME_LINE}"
        raise UsageError(
            tr("ppio-agent-runtime is not installed for {python}.", python=python),
            hint=tr("Run: {command}", command=line),
        )


def has_runtime(python: str) -> bool:
    """Return whether agents can run with an interpreter."""
    return has_module(python, "ppio_agent_runtime")


def has_module(python: str, name: str) -> bool:
    """Return whether a module is installed for an interpreter, without importing it."""
    command = [python, "-c", _HAS_MODULE, name]
    try:
        return not subprocess.run(command, capture_output=True, timeout=30, check=False).returncode
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UsageError(tr("{program} cannot be run: {reason}", program=python, reason=error)) from error


def child_program(name: str) -> str:
    """Return the source of a program of ours that runs with the agent's Python."""
    return (files(__package__) / "subprocesses" / f"{name}.py").read_text(encoding="utf-8")


def import_agent(
    folder: Path, python: str, manifest: AgentManifest, *options: str, timeout: float
) -> subprocess.CompletedProcess[bytes]:
    """Import an agent in a process of its Python, started with `options`; `subprocesses/check` documents its output.

    Raises:
        OSError: The Python cannot be run.
        subprocess.TimeoutExpired: It did not end within `timeout` seconds.
    """
    return subprocess.run(
        [python, *options, "-c", child_program("check"), manifest.spec.entrypoint],
        cwd=folder,
        env={**manifest.spec.variables, **os.environ},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=timeout,
        check=False,
    )


def _shown(folder: Path) -> str:
    return tr("this folder") if folder.resolve() == Path.cwd() else str(folder)


def _status_in(text: str) -> dict[str, object]:
    try:
        status = ManifestDocument.parse(text).value.get("status")
    except ConfigurationError:
        return {}
    return status if isinstance(status, dict) else {}


def _with_status(text: str, status: Mapping[str, object]) -> str:
    """Return a manifest with its status replaced and the rest of the text unchanged."""
    document = ManifestDocument.parse(text)
    if text.lstrip().startswith("{"):
        return _json_with_status(text, document, status)
    lines = text.splitlines(keepends=True)
    begin = end = len(lines)
    if "status" in document.value:
        begin = document.line_of(["status"]) - 1
        end = min((line - 1 for key in document.value if (line := document.line_of([key])) - 1 > begin), default=end)
        while end - 1 > begin and (not lines[end - 1].strip() or lines[end - 1].startswith("#")):
            end -= 1  # Keep what is between it and the next field.
    elif status and lines and not lines[-1].endswith("\n"):
        lines[-1] += "\n"
    block = [f"  {name}: {_scalar(value)}\n" for name, value in status.items()]
    return "".join([*lines[:begin], *(["status:\n", *block] if block else []), *lines[end:]])


def _json_with_status(text: str, document: ManifestDocument, status: Mapping[str, object]) -> str:
    try:
        fields = json.loads(text)
    except ValueError:  # It is YAML in braces.
        fields = document.value
    fields = {name: value for name, value in fields.items() if name != "status"}
    return json.dumps(fields | ({"status": dict(status)} if status else {}), indent=2, ensure_ascii=False) + "\n"


def _scalar(value: object) -> str:
    """Return a scalar that every YAML parser reads the same; JSON is YAML."""
    plain = isinstance(value, str) and _PLAIN.fullmatch(value) and value.lower() not in _WORDS
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
