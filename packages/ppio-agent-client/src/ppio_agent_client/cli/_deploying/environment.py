"""Virtual environments for local templates: one for each set of requirements, kept in the home and used again."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from collections import deque
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from .._failures import CommandError
from .._output import screen

_COMPLETE: Final = ".complete"
_FORGET_SECONDS: Final = 30 * 24 * 3600
"""Environments that no deployment has used for so long are removed; no sandbox lives that long by habit."""
_OUR_WHEELS: Final = ("ppio-agent-models", "ppio-agent-runtime")
_LAST_LINES: Final = 20


def environment_for(home: Path, requirements: Path) -> Path:
    """Return the interpreter of an environment that has what a requirements file names; make it if there is none.

    Raises:
        CommandError: Something could not be installed, or the runtime is not among it.
    """
    folder = home / "environments" / _key(requirements)
    python = folder / "bin" / "python"
    _forget_old(folder.parent)
    if (folder / _COMPLETE).exists():
        (folder / _COMPLETE).touch()
        screen.note(f"Using the environment in {folder}; its requirements are the same.")
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    try:
        _make(folder, python, requirements)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    (folder / _COMPLETE).touch()
    return python


def _make(folder: Path, python: Path, requirements: Path) -> None:
    has_pip = find_spec("pip") is not None
    with screen.working(f"Making an environment in {folder}"):
        _run([sys.executable, "-m", "venv", *(["--without-pip"] if has_pip else []), str(folder)])
    pip = [sys.executable, "-m", "pip", "--python", str(python)] if has_pip else [str(python), "-m", "pip"]
    options = ["--disable-pip-version-check", "--no-input", "--progress-bar", "off"]
    with screen.working(f"Installing {requirements.name}"):
        _run([*pip, "install", *options, *_checkouts(requirements), "-r", requirements.name], cwd=requirements.parent)
    try:
        _run([str(python), "-c", "import ppio_agent_runtime"])
    except CommandError as error:
        raise CommandError(
            f"{requirements.name} does not bring ppio-agent-runtime, which starts the agent.",
            hint=f"Add a line to {requirements.name}: ppio-agent-runtime",
        ) from error


def _run(command: list[str], *, cwd: Path | None = None) -> None:
    """Run a program, tell what it says, and fail with its last lines."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    with subprocess.Popen(
        command,
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                screen.detail(line.rstrip())
        except BaseException:
            process.kill()
            raise
    if process.returncode:
        raise CommandError(f"{' '.join(command[:4])} ... failed:" + "".join(f"\n  {line}" for line in last))


def _key(requirements: Path) -> str:
    """Return a name for what is installed: equal for equal requirements, and never equal if they name other files."""
    text = requirements.read_bytes()
    names_files = any(
        line.strip().startswith((b"-", b".", b"/", b"file:")) or b"/" in line.split(b"#")[0]
        for line in text.splitlines()
    )
    total = hashlib.sha256(f"{sys.version}\0{sys.executable}\0{_checkouts(requirements)}\0".encode() + text)
    if names_files:
        total.update(str(time.time_ns()).encode())
    return total.hexdigest()[:16]


def _checkouts(requirements: Path) -> list[str]:
    """Return the folders that our own wheels are installed from, if they are: an index may not have this version."""
    found: list[str] = []
    if b"ppio-agent-runtime" not in requirements.read_bytes():
        return found
    for name in _OUR_WHEELS:
        with suppress(PackageNotFoundError, ValueError, KeyError):
            url = json.loads(distribution(name).read_text("direct_url.json") or "{}")["url"]
            path = Path(url2pathname(urlsplit(url).path))
            if path.is_dir():
                found.append(str(path))
    return found


def _forget_old(folder: Path) -> None:
    for mark in folder.glob(f"*/{_COMPLETE}"):
        if time.time() - mark.stat().st_mtime > _FORGET_SECONDS:
            shutil.rmtree(mark.parent, ignore_errors=True)
