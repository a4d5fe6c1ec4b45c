"""Sets the version of all three distributions at once, or checks that they agree.

python scripts/release.py 0.3.0
python scripts/release.py --check [VERSION]
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
_VERSION = r"[0-9]+\.[0-9]+\.[0-9]+(?:(?:a|b|rc)[0-9]+)?(?:\.dev[0-9]+)?"
_PLACES = (
    re.compile(rf'(?m)^(version = ")({_VERSION})(")$'),
    re.compile(rf'(?m)^(__version__ = ")({_VERSION})(")$'),
    re.compile(rf'("ppio-agent-(?:models|runtime|client)(?:\[[a-z,]+\])?==)({_VERSION})(")'),
)


def files() -> list[Path]:
    """Return the files that say the version: each `pyproject.toml`, and the module with `__version__`."""
    projects = sorted((ROOT / "packages").glob("*/pyproject.toml"))
    modules = [
        path
        for project in projects
        for path in sorted(project.parent.glob("src/*/*.py"))
        if _PLACES[1].search(path.read_text(encoding="utf-8"))
    ]
    return projects + modules


def versions_in(text: str) -> list[str]:
    """Return every version of ours that `text` says."""
    return [found[2] for place in _PLACES for found in place.finditer(text)]


def check(wanted: str = "") -> list[str]:
    """Return what disagrees, with each other or with the version that is wanted, as sentences."""
    said = {path: versions_in(path.read_text(encoding="utf-8")) for path in files()}
    problems = [f"{path.relative_to(ROOT)} says no version" for path, versions in said.items() if not versions]
    if len({version for versions in said.values() for version in versions} | {wanted} - {""}) > 1:
        problems += [f"{path.relative_to(ROOT)} says {', '.join(versions)}" for path, versions in said.items()]
    expected = 2 * len(list((ROOT / "packages").glob("*/pyproject.toml")))
    if len(said) != expected:
        problems.append(f"{len(said)} files say a version, expected {expected}: pyproject.toml and __version__ of each")
    return problems


def set_version(version: str) -> None:
    """Write `version` into every place."""
    for path in files():
        text = path.read_text(encoding="utf-8")
        for place in _PLACES:
            text = place.sub(rf"\g<1>{version}\g<3>", text)
        path.write_text(text, encoding="utf-8")


def main() -> int:
    """Set or check; return the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("version", nargs="?", help="such as 0.3.0 or 0.3.0rc1")
    what.add_argument(
        "--check", nargs="?", const="", metavar="VERSION", help="only check that all places agree, and say this version"
    )
    options = parser.parse_args()
    if options.version is not None:
        if not re.fullmatch(_VERSION, options.version):
            parser.error(f"{options.version!r} is not a version such as 0.3.0 or 0.3.0rc1")
        set_version(options.version)
    problems = check(options.check or "")
    print("\n".join(problems) or f"in lockstep: {versions_in(files()[0].read_text(encoding='utf-8'))[0]}")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
