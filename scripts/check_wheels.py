"""Builds what is published and checks it as a stranger gets it: contents, metadata, and each wheel installed alone.

Each is built twice, which must give the same bytes. Beside each wheel lies a bill of materials of what comes with it.

python -m scripts.check_wheels [--keep DIRECTORY]
"""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name

from .wheel_contents import MODELS, problems_of_sdist, problems_of_wheel
from .wheel_weight import Installed, closure, installed_in, megabytes

ROOT = Path(__file__).parent.parent


@dataclass(frozen=True)
class Wheel:
    """What the contract says about one distribution.

    Attributes:
        requires: Distributions that it may bring along, with all that these need themselves; None for any.
        never: Distributions that it must not bring along, however indirectly.
        most: How many other distributions it may bring along: without an extra (an empty name), and with each.
    """

    name: str
    requires: frozenset[str] | None
    never: frozenset[str]
    most: Mapping[str, int]

    @property
    def package(self) -> str:
        """The name to import."""
        return self.name.replace("-", "_")


# The aim was 20 for the runtime and 12 for the client. Of the client's 14, eleven are httpx and pydantic with what they
# need. Without sniffio a call took 28 % more processor time; without PyYAML no local agent could be started.
WHEELS = (
    Wheel(MODELS, frozenset({"pydantic", "pyyaml"}), frozenset(), most={"": 6}),
    Wheel(
        "ppio-agent-runtime",
        None,
        frozenset({"httpx", "httpcore", "ppio-sandbox", "ppio-agent-client"})
        | {"limits", "redis", "opentelemetry-sdk", "websockets"},  # these are extras
        most={"": 20, "ag-ui": 20, "openai": 20, "vercel": 20}
        | {"docs": 21, "websocket": 21, "redis": 25, "otel": 33, "mcp": 36, "a2a": 44},
    ),
    Wheel(
        "ppio-agent-client",
        frozenset({MODELS, "httpx", "sniffio"}),
        frozenset({"fastapi", "starlette", "uvicorn", "hypercorn", "aiohttp", "ppio-sandbox", "ppio-agent-runtime"}),
        most={"": 14, "aiohttp": 23, "sandbox": 31, "cli": 37},
    ),
)


def run(*command: str | Path) -> str:
    """Run a command and return what it printed; show that and stop if it fails."""
    finished = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def build(wheel: Wheel, into: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from the sdist; return both."""
    before = set(into.iterdir())
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", into, ROOT / "packages" / wheel.name)
    built = set(into.iterdir()) - before
    (sdist,) = (path for path in built if path.name.endswith(".tar.gz"))
    (archive,) = (path for path in built if path.suffix == ".whl")
    return sdist, archive


def problems_of_rebuild(wheel: Wheel, *built: Path) -> Iterator[str]:
    """Build again, and yield what became other bytes."""
    with tempfile.TemporaryDirectory() as scratch:
        for first, second in zip(built, build(wheel, Path(scratch)), strict=True):
            if hash_of(first) != hash_of(second):
                yield f"{first.name} is not the same when it is built again"


def hash_of(path: Path) -> str:
    """Return the SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def problems_alone(wheel: Wheel, path: Path, room: Path) -> Iterator[str]:
    """Install a wheel into an environment of its own; yield what is there and should not be."""
    venv.create(room, with_pip=True)
    python = room / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", "--find-links", path.parent, path)
    run(python, "-m", "pip", "check")
    installed = look_into(python)
    bill = path.with_name(f"{wheel.name}.cdx.json")
    run(sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "-o", bill, python)
    yield from (f"brings {name} along" for name in sorted(installed.keys() & wheel.never))
    if wheel.requires is not None:
        allowed = {canonicalize_name(wheel.name)}.union(*(closure(name, installed) for name in wheel.requires))
        yield from (f"brings {name} along" for name in sorted(installed.keys() - allowed))
    program = f"import {wheel.package} as package; [getattr(package, name) for name in package.__all__]"
    run(python, "-W", "error", "-I", "-c", program)
    if "ppio-agent-client" in installed:
        yield from problems_of_scripts(python)
    yield from problems_of_weight(wheel, installed, "")
    extras = sorted(wheel.most.keys() - {""})
    provided = installed[canonicalize_name(wheel.name)].metadata.get_all("Provides-Extra") or []
    if extras != sorted(provided):
        yield f"has the extras {sorted(provided)}, and there is a limit for each of {extras}"
    if extras:
        run(python, "-m", "pip", "install", "--quiet", "--find-links", path.parent, f"{path}[{','.join(extras)}]")
        run(python, "-m", "pip", "check")
        installed = look_into(python)
        for extra in extras:
            yield from problems_of_weight(wheel, installed, extra)


def look_into(python: Path) -> Installed:
    """Return what is installed in the environment of an interpreter."""
    return installed_in(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())


def problems_of_weight(wheel: Wheel, installed: Installed, extra: str) -> Iterator[str]:
    """Print what a wheel with an extra brings; yield whether that is too much."""
    name = f"{wheel.name}[{extra}]" if extra else wheel.name
    brought = closure(name, installed)
    others = brought - {canonicalize_name(wheel.name)}
    new = others - closure(wheel.name, installed) if extra else others
    most = wheel.most[extra]
    size = f"{megabytes(brought, installed):.1f} MB"
    print(f"  {name} brings {len(others)} packages, at most {most}, {size} in all: {', '.join(sorted(new))}")
    if len(others) > most:
        yield f"{name} brings {len(others)} packages, more than {most}"


def problems_of_scripts(python: Path) -> Iterator[str]:
    """Yield the console scripts that do not say which extra is missing."""
    for script in ("ppio-agent", "ppio-sandbox-cli"):
        command = [python.with_name(script), *(["agent"] if script != "ppio-agent" else []), "list"]
        told = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        if told.returncode != 2 or "pip install 'ppio-agent-client[cli]'" not in told.stderr:
            yield f"{script} without its extra does not say what to install: {told.stdout}{told.stderr}"


def check(into: Path) -> list[str]:
    """Build and check all three; return what is wrong."""
    problems: list[str] = []
    for wheel in WHEELS:
        print(wheel.name)
        sdist, archive = build(wheel, into)
        print(f"  {archive.name}, {sdist.name}, SHA-256 {hash_of(archive)}")
        run(sys.executable, "-m", "twine", "check", "--strict", archive, sdist)
        with tempfile.TemporaryDirectory() as room:
            found = [
                *problems_of_rebuild(wheel, sdist, archive),
                *problems_of_wheel(wheel.package, archive, (ROOT / "LICENSE").read_bytes()),
                *problems_of_sdist(wheel.package, sdist),
                *problems_alone(wheel, archive, Path(room)),
            ]
        problems += [f"{wheel.name}: {problem}" for problem in found]
    return problems


def main() -> int:
    """Check; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--keep", type=Path, metavar="DIRECTORY", help="leave what was built in this empty directory")
    options = parser.parse_args()
    print(run(sys.executable, ROOT / "scripts" / "release.py", "--check"), end="")
    with tempfile.TemporaryDirectory() as scratch:
        into = options.keep or Path(scratch)
        into.mkdir(parents=True, exist_ok=True)
        problems = check(into)
    print("\n".join(problems) or "all three are fit to be published")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
