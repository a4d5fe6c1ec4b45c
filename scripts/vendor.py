"""Fetches the libraries of the console page from npm, as they are published, and checks that nobody changed them.

python scripts/vendor.py            fetches what scripts/vendor.toml names, with `npm pack`
python scripts/vendor.py --check    offline: exits with 1 when a file is missing, changed, or none of vendor.toml's
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

HERE = Path(__file__).resolve().parent
LIST = HERE / "vendor.toml"
HASHES = HERE / "vendor.sha256"
"""As `sha256sum` writes and checks it, with paths below `VENDOR`."""
VENDOR = HERE.parent / "packages/ppio-agent-runtime/src/ppio_agent_runtime/console/static/vendor"
LICENCE = "LICENSE"


@dataclass(frozen=True)
class Package:
    """One release of an npm package.

    Attributes:
        integrity: Of its archive, as npm has it: `sha512-` and base64.
        licence: SPDX expression of the licence under which it is shipped.
        files: Paths in the archive.
    """

    name: str
    version: str
    integrity: str
    licence: str
    files: tuple[str, ...]

    @property
    def folder(self) -> str:
        """Where its files are, below `VENDOR`."""
        return f"{self.name.removeprefix('@').split('/')[0]}-{self.version}"

    @property
    def paths(self) -> dict[str, str]:
        """Path below `VENDOR` of each path in the archive; the licence is one of them."""
        return {path: f"{self.folder}/{PurePosixPath(path).name}" for path in (*self.files, LICENCE)}


def packages() -> list[Package]:
    """Return what `vendor.toml` names."""
    listed = tomllib.loads(LIST.read_text(encoding="utf-8"))["package"]
    return [Package(**entry | {"files": tuple(entry["files"])}) for entry in listed]


def fetch(package: Package) -> dict[str, bytes]:
    """Return the files of a release by their path below `VENDOR`.

    Raises:
        SystemExit: npm gives another archive than the one that is known, or it lacks a file.
    """
    with tempfile.TemporaryDirectory() as room:
        wanted = f"{package.name}@{package.version}"
        subprocess.run(["npm", "pack", "--silent", "--pack-destination", room, wanted], check=True, stdout=sys.stderr)
        (archive,) = Path(room).iterdir()
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        if f"sha512-{digest}" != package.integrity:
            raise SystemExit(f"{wanted} has the integrity sha512-{digest}, and vendor.toml has {package.integrity}.")
        with tarfile.open(archive) as opened:
            return {path: _member(opened, f"package/{inside}") for inside, path in package.paths.items()}


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    try:
        file = archive.extractfile(name)
    except KeyError:
        file = None
    if file is None:
        raise SystemExit(f"The archive has no file {name}; see the list in vendor.toml.")
    return file.read()


def hash_lines(folder: Path) -> list[str]:
    """Return a line with hash and path for each file below a folder, sorted by path."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.relative_to(folder).as_posix()}" for file in files]


def problems(folder: Path = VENDOR) -> Iterator[str]:
    """Yield what is wrong with the files below a folder, as sentences."""
    known = {line[66:]: line for line in HASHES.read_text(encoding="utf-8").splitlines()}
    found = {line[66:]: line for line in hash_lines(folder)}
    listed = {path for package in packages() for path in package.paths.values()}
    for path in sorted(known.keys() | found.keys() | listed):
        if path not in listed:
            yield f"{path} is not in vendor.toml."
        elif path not in found:
            yield f"{path} is missing."
        elif known.get(path) != found[path]:
            yield f"{path} is not the file whose hash is in {HASHES.name}."


def main() -> int:
    """Fetch or check; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="compare the files with their hashes, offline")
    if parser.parse_args().check:
        wrong = list(problems())
        print("\n".join([*wrong, "Run: python scripts/vendor.py"] if wrong else ["The vendored files are npm's."]))
        return int(bool(wrong))
    fetched = {path: content for package in packages() for path, content in fetch(package).items()}
    shutil.rmtree(VENDOR, ignore_errors=True)
    for path, content in fetched.items():
        (VENDOR / path).parent.mkdir(parents=True, exist_ok=True)
        (VENDOR / path).write_bytes(content)
    HASHES.write_text("\n".join(hash_lines(VENDOR)) + "\n", encoding="utf-8")
    print(f"{len(fetched)} files of {len(packages())} packages are in {VENDOR.relative_to(HERE.parent)}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
