"""Programs as real processes: agents that listen on a port of their own, and programs that run to their end."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_LISTENS = re.compile(r"listens on (http://\S+)")


def environment(**extra: str) -> dict[str, str]:
    """Return this environment without anything of ours in it, and with `extra`."""
    foreign = {name: value for name, value in os.environ.items() if not name.startswith("PPIO_")}
    return foreign | {"PYTHONUNBUFFERED": "1", "PYTHONWARNINGS": "error"} | extra


def run_to_the_end(
    *arguments: str | Path, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` and return what it printed and how it ended."""
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment(**(variables or {})),
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )


@contextmanager
def serving(
    *arguments: str | Path, folder: Path | None = None, variables: Mapping[str, str] | None = None
) -> Iterator[str]:
    """Run Python with `arguments`, an agent, and yield its base URL; at the end it must stop with exit code 0."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env=environment(PPIO_AGENT_HOST="127.0.0.1", PPIO_AGENT_PORT="0", **(variables or {})),
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    try:
        log: list[str] = []
        for line in process.stderr:
            log.append(line)
            if found := _LISTENS.search(line):
                yield found[1]
                break
        else:
            raise AssertionError(f"the agent ended before it listened:\n{''.join(log)}")
        process.terminate()
        rest = process.stderr.read()
        assert process.wait() == 0, rest
    finally:
        process.kill()
        process.wait()
        process.stderr.close()
