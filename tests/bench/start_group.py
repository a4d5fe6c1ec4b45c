"""Start and memory."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from .loads import posts
from .peers import PEERS, STANDARD, standard
from .rounds import Figure, Rounds, in_turn, ratios
from .rows import Results
from .servers import OURS, RAW, App, Server, environment

_SETTLED_SECONDS = 0.2


@dataclass(frozen=True)
class Start:
    """One start: seconds to the first 200 of `/ping`, and memory soon after."""

    seconds: float
    megabytes: float


def run(peers: Sequence[App], rounds: int) -> Results:
    """Measure the group."""
    base = standard()
    starts = _starts([RAW, *([base] if base else []), OURS, *peers], rounds * 3)
    servers = {app.name: starts[app.name] for app in [OURS, *peers] if starts[app.name]}
    imports = {app.name: import_time(PEERS[app.name].imports, rounds, app.python) for app in peers if starts[app.name]}
    results: Results = {
        "memory-idle": {name: Figure.of([start.megabytes for start in found]) for name, found in servers.items()},
        "import-runtime": {"ours": import_time("ppio_agent_runtime", rounds)},
        "import-runtime-class": {"ours": import_time("ppio_agent_runtime.PPIOAgentRuntimeApp", rounds), **imports},
        "growth-echo": {"ours": _growth("echo", 32, 2_000 if rounds == 1 else 200_000)},
        "growth-overlap": {"ours": _growth("sleep", 64, 2_000 if rounds == 1 else 20_000)},
    }
    for row, name in (("cold-start", STANDARD), ("cold-start-bare", RAW.name)):
        if starts.get(name):
            results[row] = ratios(servers | {name: starts[name]}, name, lambda start: start.seconds)
    return results


def _starts(apps: list[App], rounds: int) -> Rounds[Start]:
    """Start each app in turn, so many times; the first round reads the files and is not counted."""
    found: Rounds[Start] = {app.name: [] for app in apps}
    for number in range(rounds + 1):
        for app in in_turn(apps, number):
            try:
                with Server(app) as server:
                    time.sleep(_SETTLED_SECONDS)
                    start = Start(server.ready_seconds, server.megabytes())
            except RuntimeError as error:  # a peer that does not start is a finding too
                sys.stderr.write(f"{app.name}: {error}\n")
                continue
            if number:
                found[app.name].append(start)
    return found


def import_time(name: str, rounds: int, python: str = sys.executable) -> Figure:
    """Return what importing a module or a class adds to an empty interpreter: milliseconds of processor time."""
    module, _, attribute = name.rpartition(".")
    with_it = f"from {module} import {attribute}" if attribute[0].isupper() else f"import {name}"
    _run(python, with_it)  # compiles it
    return Figure.of([max(0.0, _run(python, with_it) - _run(python, "pass")) * 1000 for _ in range(rounds * 2)])


def _run(python: str, program: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([python, "-c", program], env=environment(), check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _growth(mode: str, connections: int, requests: int) -> Figure:
    """Return by how many MB the memory has grown after so many requests, from before the first of them."""
    with Server(OURS, mode) as server:
        before, done = server.megabytes(), 0
        while done < requests:
            done += posts(server, connections, seconds=2).requests
        return Figure.of([server.megabytes() - before])
