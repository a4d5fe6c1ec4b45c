"""Finds the app that `main.py`, `module:app` or the manifest names."""

from __future__ import annotations

import importlib.util
import os
import sys
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ppio_agent_models import AGENT_PORT, MANIFEST_FILE, ConfigurationError
from ppio_agent_models._entrypoint import entrypoint_of, variables_of, written_spec

if TYPE_CHECKING:
    from .app import PPIOAgentRuntimeApp

_DEFAULT_NAMES = ("app", "agent", "application")


class NoAppError(ConfigurationError):
    """A file or a module defines no app of ours."""


def entrypoint_from_manifest(folder: Path) -> str:
    """Return `spec.entrypoint` of the manifest in `folder`; set its environment variables, unless they are set already.

    Raises:
        ConfigurationError: There is no manifest, or none that names an entrypoint.
    """
    path = folder / MANIFEST_FILE
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigurationError(
            f"There is no {MANIFEST_FILE} in {folder}. Name the agent: python -m ppio_agent_runtime main.py"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} cannot be read: {error}.") from error
    spec = written_spec(text, source=str(path))
    for name, value in variables_of(spec.get("protocols"), spec.get("envVars")).items():
        os.environ.setdefault(name, value)
    if (entrypoint := entrypoint_of(spec)) is not None:
        return entrypoint
    from ppio_agent_models import AgentManifest  # for its error message; imports pydantic, which takes 75 ms

    return AgentManifest.from_yaml(text, source=str(path)).spec.entrypoint


def load_app(target: str) -> PPIOAgentRuntimeApp:
    """Return the app that `target` names.

    Args:
        target: `main.py`, `folder/main.py`, `package.module`, or one of these with `:name` of the app in it.

    Raises:
        ConfigurationError: The file, the module or the app in it does not exist; the message says which.
        Exception: Whatever the agent's own code raises while it is imported.
    """
    place, _, name = target.partition(":")
    module = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
    return _app_in(module, name, place)


def run_script(file: str, *, host: str | None, port: int | None) -> int:
    """Replace this process by `python <file>`, for a file that starts its own server, such as an AgentCore agent.

    Args:
        file: The file.
        host: Address to listen on, instead of PPIO_AGENT_HOST.
        port: Port to listen on, instead of PPIO_AGENT_PORT, or 8080.

    Returns:
        Its exit code, on Windows, where a process can't be replaced.
    """
    chosen = str(port or os.environ.get("PPIO_AGENT_PORT") or AGENT_PORT)
    variables = {"PPIO_AGENT_HOST": host or os.environ.get("PPIO_AGENT_HOST") or "0.0.0.0"}
    variables |= {"PPIO_AGENT_PORT": chosen, "PORT": chosen}
    command = [sys.executable, file]
    if sys.platform != "win32":
        os.execve(sys.executable, command, {**os.environ, **variables})  # noqa: S606  # the agent's own program
    import subprocess

    return subprocess.call(command, env={**os.environ, **variables})


def _load_file(path: Path) -> ModuleType:
    """Run a file as the module of its name, with its folder first on the path, as `python file.py` would."""
    if not path.is_file():
        raise ConfigurationError(f"There is no file {str(path)!r}.")
    sys.path.insert(0, str(path.parent.resolve()))
    name = path.stem
    if name in sys.modules or not name.isidentifier():
        name = "__ppio_agent__"  # the name of a loaded module, so it must not replace that
    spec = importlib.util.spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise ConfigurationError(f"{str(path)!r} is not a Python file.")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _load_module(name: str) -> ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigurationError(f"{name!r} is neither a .py file nor the name of a module.")
    sys.path.insert(0, str(Path.cwd()))
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise  # the module exists, and something that it imports does not
        raise ConfigurationError(f"There is no module {name!r} in {Path.cwd()} or on the Python path.") from None


def _app_in(module: ModuleType, name: str, place: str) -> PPIOAgentRuntimeApp:
    from .app import PPIOAgentRuntimeApp

    if name:
        found: Any = getattr(module, name, None)
        if found is None:
            raise ConfigurationError(f"{place!r} has no {name!r}.")
        if not isinstance(found, PPIOAgentRuntimeApp):
            raise ConfigurationError(f"{name!r} in {place!r} is a {type(found).__name__}, not a PPIOAgentRuntimeApp.")
        return found
    apps = {key: value for key, value in vars(module).items() if isinstance(value, PPIOAgentRuntimeApp)}
    for usual in _DEFAULT_NAMES:
        if usual in apps:
            return apps[usual]
    distinct = set(map(id, apps.values()))
    if len(distinct) == 1:
        return next(iter(apps.values()))
    if not apps:
        raise NoAppError(f"{place!r} defines no PPIOAgentRuntimeApp: write app = PPIOAgentRuntimeApp().")
    raise ConfigurationError(
        f"{place!r} has several apps ({', '.join(apps)}); name one, as in {place}:{next(iter(apps))}."
    )
