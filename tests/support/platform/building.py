"""The steps of a build, taken one after the other on a folder."""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import Any, Final

from . import paths
from .templates import Build

FAILS: Final = "this-step-fails"
"""A step with this text in one of its arguments fails."""
_NOT_HERE: Final = ("pip install", "apt-get", "/etc/")
"""Commands with these words would change this machine, or need the network."""


class BuildError(Exception):
    """A step that failed."""


class Steps:
    """A folder that becomes a template's `/`.

    Args:
        run: Execute RUN steps, apart from those that install packages; otherwise they are only written down.
    """

    def __init__(self, root: Path, files: dict[str, bytes], build: Build, *, run: bool) -> None:
        self._root = root
        self._files = files
        self._build = build
        self._runs = run
        self.environment: dict[str, str] = {}
        self.workdir = "/home/user"

    def begin(self, base: Path | None) -> None:
        """Start from another template's files, or from none."""
        if base is not None:
            shutil.copytree(base, self._root, symlinks=True)
        (self._root / "home/user").mkdir(parents=True, exist_ok=True)

    def take(self, number: int, step: dict[str, Any]) -> None:
        """Take one.

        Raises:
            BuildError: It failed; the log has the reason.
        """
        kind, arguments = step["type"], step.get("args") or []
        self._build.log(f"[{number}] {kind} {' '.join(arguments)}", step=str(number))
        if any(FAILS in each for each in arguments):
            self._build.log("ERROR: the emulator was told to let this step fail", level="error", step=str(number))
            raise BuildError(f"failed to run command '{arguments[0]}': exit status 1")
        match kind:
            case "COPY":
                self._copy(arguments[0], arguments[1], self._files[step["filesHash"]])
            case "WORKDIR":
                self.workdir = self._absolute(arguments[0])
                paths.on_this_machine(self._root, self.workdir).mkdir(parents=True, exist_ok=True)
            case "ENV":
                self.environment |= dict(zip(arguments[::2], arguments[1::2], strict=True))
            case "RUN":
                self._run(arguments[0])

    def _absolute(self, path: str) -> str:
        return str(PurePosixPath(self.workdir, path))

    def _copy(self, source: str, target: str, archive: bytes) -> None:
        to = paths.on_this_machine(self._root, self._absolute(target))
        with tempfile.TemporaryDirectory() as name:
            context = Path(name)
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
                tar.extractall(context, filter="data")
            found = [context] if source in {".", "./"} else sorted(context.glob(source))
            if not found:
                raise BuildError(f"COPY failed: there is no {source!r} in the files")
            for each in found:
                if each.is_dir():
                    shutil.copytree(each, to, symlinks=True, dirs_exist_ok=True)
                    continue
                place = to / each.name if target.endswith(("/", ".")) or to.is_dir() or len(found) > 1 else to
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(each, place)

    def _run(self, line: str) -> None:
        if not self._runs or any(word in line for word in _NOT_HERE):
            return
        folder = paths.on_this_machine(self._root, self.workdir)
        command = ["/bin/bash", "-c", paths.command(self._root, line)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=60)
        for text in (done.stdout + done.stderr).splitlines():
            self._build.log(text)
        if done.returncode:
            raise BuildError(f"failed to run command '{line}': exit status {done.returncode}")
