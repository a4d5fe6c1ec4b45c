"""Start and memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence

from .loads import posts
from .rounds import Figure
from .rows import Results
from .servers import OURS, RAW, App, Server, environment

_SETTLED_SECONDS = 0.2


def run(peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    apps = [RAW, OURS, *peers]
    ready: dict[str, list[float]] = {app.name: [] for app in apps}
    memory: dict[str, list[float]] = {app.name: [] for app in apps}
    for number in range(rounds + 1):
        for app in apps:
            with Server(app) as server:
                time.sleep(_SETTLED_SECONDS)
                if number:  # the first round reads the files
                    ready[app.name].append(server.ready_seconds)
                    memory[app.name].append(server.megabytes())
    starts = {
        name: Figure.of([mine / base for mine, base in zip(seconds, ready["raw"], strict=True)])
        for name, seconds in ready.items()
        if name != "raw"
    }
    return {
        "cold-start": starts,
        "memory-idle": {name: Figure.of(megabytes) for name, megabytes in memory.items() if name != "raw"},
        "import-runtime": {"ours": import_time("ppio_agent_runtime.PPIOAgentRuntimeApp", rounds)},
        "growth-echo": {"ours": _growth("echo", 32, 2_000 if rounds == 1 else 200_000)},
        "growth-overlap": {"ours": _growth("sleep", 64, 2_000 if rounds == 1 else 20_000)},
    }


def import_time(name: str, rounds: int) -> Figure:
    """Return what importing a module, or a name of it, adds to an empty interpreter: processor time in milliseconds."""
    module, _, attribute = name.rpartition(".")
    with_it = f"from {module} import {attribute}" if module else f"import {attribute}"
    _run(with_it)  # compiles it
    return Figure.of([max(0.0, _run(with_it) - _run("pass")) * 1000 for _ in range(rounds * 2)])


def _run(program: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", program], env=environment(), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _growth(mode: str, connections: int, requests: int) -> Figure:
    """Return by how many MB the memory has grown after so many requests; a warm-up is not counted."""
    with Server(OURS, mode) as server:
        posts(server, connections, seconds=2)
        before, done = server.megabytes(), 0
        while done < requests:
            done += posts(server, connections, seconds=2).requests
        return Figure.of([server.megabytes() - before])
