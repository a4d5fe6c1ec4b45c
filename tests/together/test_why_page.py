"""The dependency tables of docs/why.md have every dependency of every package, and no other."""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PACKAGES = ("ppio-agent-models", "ppio-agent-runtime", "ppio-agent-client")


def of_the_package(name: str) -> dict[str, set[str]]:
    """Return its dependencies by extra, "" for those that every installation has, without our own packages."""
    project = tomllib.loads((ROOT / "packages" / name / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras: dict[str, list[str]] = project.get("optional-dependencies", {})
    found = {"": named(project["dependencies"], extras)}
    return found | {extra: named(lines, extras) for extra, lines in extras.items()}


def named(lines: list[str], extras: dict[str, list[str]]) -> set[str]:
    """Return names with their extras; an extra of the package itself stands for what is in it."""
    names = set()
    for wanted in map(Requirement, lines):
        if wanted.name in PACKAGES:
            names |= {name for extra in wanted.extras for name in named(extras[extra], extras)}
        else:
            names.add(wanted.name + (f"[{','.join(sorted(wanted.extras))}]" if wanted.extras else ""))
    return names


def of_the_page(name: str) -> dict[str, set[str]]:
    """Return the same from the tables below the package's heading."""
    page = (ROOT / "docs" / "why.md").read_text(encoding="utf-8")
    part = re.split(r"(?m)^#", page.split(f"### `{name}`\n")[1])[0]
    found: dict[str, set[str]] = defaultdict(set)
    found[""] = set()
    extras = [""]
    for row in re.findall(r"(?m)^\|(.*)\|$", part):
        cells = [cell.strip() for cell in row.split("|")]
        if cells[0] in ("package", "extra") or cells[0].startswith("---"):
            continue
        is_extra = len(cells) > 2
        if is_extra and cells[0]:
            extras = re.findall(r"`([^`]+)`", cells[0])
        for extra in extras if is_extra else [""]:
            found[extra] |= set(re.findall(r"`([^`]+)`", cells[1 if is_extra else 0]))
    return dict(found)


@pytest.mark.parametrize("name", PACKAGES)
def test_the_tables_have_the_dependencies_of_a_package(name: str) -> None:
    page, package = of_the_page(name), of_the_package(name)

    assert page == package
