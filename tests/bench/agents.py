"""Agents in processes of their own, started as `python -m ppio_agent_runtime` starts them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


class Agent(NamedTuple):
    """A running agent."""

    pid: int
    port: int


@contextmanager
def agent(program: str, variables: Mapping[str, str]) -> Iterator[Agent]:
    """Start an agent whose log goes to a file, as it would go to a collector."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PPIO_", "OTEL_"))}
    settings = {"PPIO_AGENT_HOST": "127.0.0.1", "PPIO_AGENT_PORT": "0", **variables}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "main.py").write_text(program, encoding="utf-8")
        log = Path(folder) / "log"
        with log.open("w") as stderr:
            command = [sys.executable, "-m", "ppio_agent_runtime", "main.py"]
            process = subprocess.Popen(command, cwd=folder, env=clean | settings, stderr=stderr)
        try:
            while not (found := re.search(r"listens on http://127\.0\.0\.1:(\d+)", log.read_text())):
                assert process.poll() is None, log.read_text()
                time.sleep(0.01)
            yield Agent(process.pid, int(found[1]))
        finally:
            process.terminate()
            process.wait()
