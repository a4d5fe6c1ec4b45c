"""Agents of other SDKs, run as they are, and with one import changed under ours."""

from __future__ import annotations

import importlib.util
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.calls import call
from tests.support.gates import eventually
from tests.support.processes import environment
from tests.support.raw_http import Answer

HERE = Path(__file__).parent


@contextmanager
def serving(folder: str, name: str, package: str, runtime: str, tmp_path: Path) -> Iterator[str]:
    """Run a sample, and yield its address.

    Args:
        folder: Of the sample.
        name: Its file, without the suffix.
        package: What it imports.
        runtime: `theirs`, or `ours`.
        tmp_path: Where the changed copy goes.
    """
    path = HERE / folder / f"{name}.py"
    if runtime == "theirs":
        if importlib.util.find_spec(package.partition(".")[0]) is None:
            pytest.skip(f"needs {package}: hatch run compat:test")
    else:
        changed = re.sub(rf"from {package}[.\w]* import", f"from {module_for(package)} import", path.read_text())
        path = tmp_path / path.name
        path.write_text(changed)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    variables = environment(PORT=str(port), PPIO_AGENT_HOST="127.0.0.1", PYTHONWARNINGS="default")
    log = (tmp_path / "log").open("w")
    process = subprocess.Popen([sys.executable, path], env=variables, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        eventually(lambda: process.poll() is not None or _answers(url), "the agent answers")
        assert process.poll() is None, (tmp_path / "log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait(60)
        log.close()


def module_for(package: str) -> str:
    """Return our module that takes the place of a package."""
    return f"ppio_agent_runtime.compat.{package.partition('.')[0]}"


def ask(url: str, body: bytes, **headers: str) -> Answer:
    """Invoke the agent as its callers do."""
    return call(url, body=body, headers={"Content-Type": "application/json", **headers})


def status_of(url: str) -> Any:
    """Return the status that `/ping` tells."""
    return call(url, "/ping", method="GET").json["status"]


def _answers(url: str) -> bool:
    try:
        return call(url, "/ping", method="GET").status > 0
    except OSError:
        return False
