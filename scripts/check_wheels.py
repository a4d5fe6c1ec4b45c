"""Builds what is published and checks it as a stranger gets it: contents, metadata, and each wheel installed alone.

python scripts/check_wheels.py [--keep DIRECTORY]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tarfile
import tempfile
import venv
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.parser import Parser
from importlib.metadata import Distribution, distributions
from pathlib import Path, PurePosixPath

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

ROOT = Path(__file__).parent.parent
MODELS = "ppio-agent-models"


@dataclass(frozen=True)
class Wheel:
    """What the contract says about one distribution.

    Attributes:
        requires: Distributions that it may bring along, with all that these need themselves; None for any.
        never: Distributions that it must not bring along, however indirectly.
    """

    name: str
    requires: frozenset[str] | None
    never: frozenset[str]

    @property
    def package(self) -> str:
        """The name to import."""
        return self.name.replace("-", "_")


WHEELS = (
    Wheel(MODELS, frozenset({"pydantic", "pyyaml"}), frozenset()),
    Wheel(
        "ppio-agent-runtime",
        None,
        frozenset({"httpx", "httpcore", "ppio-sandbox", "ppio-agent-client"})
        | {"limits", "redis", "opentelemetry-sdk", "websockets"},  # these are extras
    ),
    Wheel(
        "ppio-agent-client",
        frozenset({MODELS, "httpx", "sniffio"}),
        frozenset({"fastapi", "starlette", "uvicorn", "hypercorn", "aiohttp", "ppio-sandbox", "ppio-agent-runtime"}),
    ),
)
SOURCE_SUFFIXES = {".py", ".html", ".css", ".js"}
TEMPLATES = "ppio_agent_client/cli/templates/"
"""What `ppio-agent init` writes: files of any kind."""
BESIDE_THE_SOURCE = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}


def run(*command: str | Path) -> str:
    """Run a command and return what it printed; show that and stop if it fails."""
    finished = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False)
    if finished.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{finished.stdout}{finished.stderr}")
    return finished.stdout


def build(wheel: Wheel, into: Path) -> tuple[Path, Path]:
    """Build the sdist, and the wheel from the sdist; return both."""
    before = set(into.iterdir())
    run(sys.executable, "-m", "build", "--outdir", into, ROOT / "packages" / wheel.name)
    built = set(into.iterdir()) - before
    (sdist,) = (path for path in built if path.name.endswith(".tar.gz"))
    (archive,) = (path for path in built if path.suffix == ".whl")
    return sdist, archive


def problems_of_wheel(wheel: Wheel, path: Path) -> Iterator[str]:
    """Yield what is wrong inside a wheel."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
        dist_info = metadata_name.split("/", maxsplit=1)[0]
        licence = archive.read(f"{dist_info}/licenses/LICENSE") if f"{dist_info}/licenses/LICENSE" in names else b""
    yield from (f"stray file {name}" for name in names if _is_stray(name, wheel.package, dist_info))
    if f"{wheel.package}/py.typed" not in names:
        yield "no py.typed"
    if licence != (ROOT / "LICENSE").read_bytes():
        yield "no licence, or another one than the repository's"
    if len(str(metadata.get_payload()).split()) < 20:
        yield "README says next to nothing"
    required = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    siblings = [
        r for r in required if r.name.startswith("ppio-agent-") and r.name != wheel.name
    ]  # extras name their own
    yield from (f"sibling is not pinned: {r}" for r in siblings if str(r.specifier) != f"=={metadata['Version']}")
    if wheel.name != MODELS and [r.name for r in siblings] != [MODELS]:
        yield f"requires {[r.name for r in siblings]} of its siblings, not the models alone"


def _is_stray(name: str, package: str, dist_info: str) -> bool:
    top, *_ = name.split("/", maxsplit=1)
    if top == dist_info:
        return False
    path = PurePosixPath(name)
    return top != package or not _is_known(path)


def _is_known(path: PurePosixPath) -> bool:
    return path.suffix in SOURCE_SUFFIXES or path.name == "py.typed" or path.as_posix().startswith(TEMPLATES)


def problems_of_sdist(wheel: Wheel, path: Path) -> Iterator[str]:
    """Yield what is wrong inside an sdist."""
    with tarfile.open(path) as archive:
        names = [name.split("/", maxsplit=1)[1] for name in archive.getnames()]
    source = f"src/{wheel.package}/"
    for name in names:
        known = _is_known(PurePosixPath(name.removeprefix("src/")))
        if name not in BESIDE_THE_SOURCE and not (name.startswith(source) and known):
            yield f"stray file {name} in the sdist"
    yield from (f"no {name} in the sdist" for name in ("LICENSE", "README.md") if name not in names)


def problems_alone(wheel: Wheel, path: Path, room: Path) -> Iterator[str]:
    """Install a wheel into an environment of its own; yield what is there and should not be."""
    venv.create(room, with_pip=True)
    python = room / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    run(python, "-m", "pip", "install", "--quiet", "--find-links", path.parent, path)
    run(python, "-m", "pip", "check")
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    installed = {canonicalize_name(found.name): found for found in distributions(path=[site])}
    present = installed.keys() - {"pip", "setuptools", "wheel"}
    print(f"  {wheel.name} alone: {', '.join(sorted(present))}")
    yield from (f"brings {name} along" for name in sorted(present & wheel.never))
    if wheel.requires is not None:
        allowed = {canonicalize_name(wheel.name)}.union(*(closure(name, installed) for name in wheel.requires))
        yield from (f"brings {name} along" for name in sorted(present - allowed))
    program = f"import {wheel.package} as package; [getattr(package, name) for name in package.__all__]"
    run(python, "-W", "error", "-I", "-c", program)
    if "ppio-agent-client" in installed:
        yield from problems_of_scripts(python)


def problems_of_scripts(python: Path) -> Iterator[str]:
    """Yield the console scripts that do not say which extra is missing."""
    for script in ("ppio-agent", "ppio-sandbox-cli"):
        command = [python.with_name(script), *(["agent"] if script != "ppio-agent" else []), "list"]
        told = subprocess.run([*map(str, command)], capture_output=True, text=True, check=False)
        if told.returncode != 2 or "pip install 'ppio-agent-client[cli]'" not in told.stderr:
            yield f"{script} without its extra does not say what to install: {told.stdout}{told.stderr}"


def closure(name: str, installed: Mapping[NormalizedName, Distribution]) -> set[NormalizedName]:
    """Return a distribution and everything that it requires here, without extras."""
    found: set[NormalizedName] = set()
    waiting = [canonicalize_name(name)]
    while waiting:
        current = waiting.pop()
        if current in found or current not in installed:
            continue
        found.add(current)
        for text in installed[current].requires or []:
            requirement = Requirement(text)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


def check(into: Path) -> list[str]:
    """Build and check all three; return what is wrong."""
    problems: list[str] = []
    for wheel in WHEELS:
        print(wheel.name)
        sdist, archive = build(wheel, into)
        print(f"  {archive.name}, {sdist.name}")
        with tempfile.TemporaryDirectory() as room:
            found = [
                *problems_of_wheel(wheel, archive),
                *problems_of_sdist(wheel, sdist),
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
