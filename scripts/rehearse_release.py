"""Rehearses a release: uploads it to a package index on this machine, installs it from there, and uses it.

All of that under each Python. `hatch run wheels --keep dist` makes what is uploaded. For a Python that is not installed
here, pip only says whether there is a wheel of each package.

python -m scripts.rehearse_release DIRECTORY [--python 3.13 ...]
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError

from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parent.parent
SUPPORTED: Final = ("3.11", "3.12", "3.13", "3.14")
OURS: Final = {"ppio-agent-models", "ppio-agent-runtime", "ppio-agent-client"}
START_SECONDS: Final = 60.0
_DIRECT: Final = urllib.request.build_opener(urllib.request.ProxyHandler({}))


@dataclass(frozen=True)
class Release:
    """What was uploaded, and where to."""

    version: str
    index: str

    @property
    def requirements(self) -> list[str]:
        """What a user of everything writes after `pip install`."""
        return [f"ppio-agent-client[cli]=={self.version}", f"ppio-agent-runtime=={self.version}"]


def environment() -> dict[str, str]:
    """Return this environment without what would lead to the checkout or to settings of ours."""
    foreign = ("PPIO_", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def run(*command: str | Path, folder: Path | None = None) -> str:
    """Run a command and return what it printed; show that and stop if it fails."""
    finished = subprocess.run(
        [*map(str, command)], cwd=folder, env=environment(), capture_output=True, text=True, check=False, timeout=1200
    )
    if finished.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{finished.stdout}{finished.stderr}")
    return finished.stdout


@contextmanager
def package_index(folder: Path) -> Iterator[str]:
    """Serve an empty package index on a free port of this machine, and yield its URL."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}/"
    serve = ["-m", "pypiserver", "run", "--interface", "127.0.0.1", "--port", str(port), "--disable-fallback"]
    anybody_may_upload = ["--authenticate", ".", "--passwords", "."]
    with subprocess.Popen(
        [sys.executable, *serve, *anybody_may_upload, str(folder)], env=environment(), stderr=subprocess.DEVNULL
    ) as server:
        try:
            _wait_for(url, server)
            yield url
        finally:
            server.terminate()


def _wait_for(url: str, server: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + START_SECONDS
    while server.poll() is None and time.monotonic() < end:
        try:
            _DIRECT.open(url, timeout=10).close()
        except (URLError, ConnectionError):
            time.sleep(0.1)
        else:
            return
    raise SystemExit(f"the package index at {url} does not answer")


def upload(files: Sequence[Path], index: str) -> None:
    """Upload as the release does, but without signatures, which only the workflow on GitHub can make."""
    login = ["--username", "anybody", "--password", "anything", "--non-interactive", "--disable-progress-bar"]
    run(sys.executable, "-m", "twine", "upload", "--repository-url", index, *login, *files)


def interpreter(version: str) -> Path | None:
    """Return a Python of this version that can make environments; None if there is none here."""
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    on_path = shutil.which(f"python{version}") or sys.executable
    found = [Path(sys.executable), Path(on_path), *pyenv.glob(f"versions/{version}.*/bin/python")]
    program = "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"
    for python in found:
        asked = subprocess.run([python, "-c", program], capture_output=True, text=True, check=False)
        if asked.stdout.strip() == version:
            return python
    return None


def rehearse(python: Path, release: Release, room: Path) -> None:
    """Install the release into an environment of its own, and use it: as a program, and by the command line."""
    run(python, "-m", "venv", room / "env")
    ours = room / "env/bin/python"
    report = room / "report.json"
    where = ["--extra-index-url", f"{release.index}simple/", "--report", str(report)]
    run(ours, "-m", "pip", "install", "--quiet", *where, *release.requirements)
    run(ours, "-m", "pip", "check")
    check_origin(json.loads(report.read_text(encoding="utf-8")), release)
    shutil.copytree(ROOT / "examples/04_conversation", room / "04_conversation")
    demo = Path(shutil.copy(ROOT / "examples/demo.py", room))
    said = run(ours, demo, folder=room)
    if "done, and nothing is left behind" not in said:
        raise SystemExit(f"the demo did not come to its end:\n{said}")
    use_command_line(ours.with_name("ppio-agent"), room)


def check_origin(report: dict[str, Any], release: Release) -> None:
    """Stop unless pip took our three, and in this version, from the index of the rehearsal."""
    installed = report["install"]
    taken = {str(canonicalize_name(found["metadata"]["name"])): found["download_info"]["url"] for found in installed}
    ours = {name: taken.get(name, "nowhere") for name in OURS}
    elsewhere = {name: url for name, url in ours.items() if not url.startswith(release.index)}
    if elsewhere:
        raise SystemExit(f"not from {release.index}: {elsewhere}")
    print(f"  installed {len(taken)} packages, our three from the index")


def use_command_line(program: Path, room: Path) -> None:
    """Make an agent, deploy it on this machine, invoke it, delete it."""
    agent = room / "my-agent"
    home = {"PPIO_AGENT_HOME": str(room / "home")}
    for arguments in (
        ["init", str(agent), "--name", "my-agent", "--template", "streaming"],
        ["deploy", "--local"],
        ["invoke", "--local", "--input", "Hello"],
        ["delete", "--local", "--template-id", "my-agent", "--yes"],
    ):
        folder = agent if agent.exists() else room
        finished = subprocess.run(
            [program, *arguments], cwd=folder, env=environment() | home, capture_output=True, text=True, check=False
        )
        if finished.returncode:
            raise SystemExit(f"ppio-agent {' '.join(arguments)}\n{finished.stdout}{finished.stderr}")


def resolve(version: str, release: Release) -> int:
    """Return how many packages pip would install under a Python that is not here, all of them as wheels."""
    of_that = ["--python-version", version, "--only-binary", ":all:", "--ignore-installed", "--dry-run"]
    where = ["--extra-index-url", f"{release.index}simple/", "--report", "-"]
    printed = run(sys.executable, "-m", "pip", "install", "--quiet", *of_that, *where, *release.requirements)
    return len(json.loads(printed)["install"])


def main() -> int:
    """Rehearse; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("directory", type=Path, help="the wheels and sdists that were built")
    parser.add_argument(
        "--python",
        action="append",
        choices=SUPPORTED,
        help="a version that has to be installed here; may be repeated. Default: all that are",
    )
    options = parser.parse_args()
    wheels = sorted(options.directory.glob("*.whl"))
    versions = {str(parse_wheel_filename(wheel.name)[1]) for wheel in wheels}
    if len(wheels) != len(OURS) or len(versions) != 1:
        parser.error(f"{options.directory} has {[wheel.name for wheel in wheels]}, not three wheels of one version")
    with tempfile.TemporaryDirectory() as folder, package_index(Path(folder)) as index:
        release = Release(versions.pop(), index)
        upload([*wheels, *sorted(options.directory.glob("*.tar.gz"))], index)
        print(f"uploaded to {index}: {', '.join(sorted(file.name for file in Path(folder).iterdir()))}")
        for version in options.python or SUPPORTED:
            began = time.monotonic()
            python = interpreter(version)
            if python is not None:
                print(f"Python {version}, {python}")
                with tempfile.TemporaryDirectory() as room:
                    rehearse(python, release, Path(room))
                print(f"  the demo and the command line work; {time.monotonic() - began:.0f} s")
            elif options.python:
                parser.error(f"Python {version} is not installed here")
            else:
                number = resolve(version, release)
                print(f"Python {version} is not installed here; there is a wheel of each of {number} packages for it")
    return 0


if __name__ == "__main__":
    sys.exit(main())
