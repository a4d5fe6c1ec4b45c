"""What is published: files in each wheel and sdist, and the Pythons it names. `hatch run wheels` installs them too."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.rehearse_release import SUPPORTED
from scripts.wheel_contents import problems_of_sdist, problems_of_wheel

ROOT = Path(__file__).parents[2]
PROJECTS = sorted(path.parent for path in ROOT.glob("packages/*/pyproject.toml"))


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_wheels_and_sdists_have_what_belongs_there_and_nothing_else(project: Path, tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(tmp_path)]

    subprocess.run(build, cwd=project, check=True, capture_output=True)

    (wheel,), (sdist,) = tmp_path.glob("*.whl"), tmp_path.glob("*.tar.gz")
    package = project.name.replace("-", "_")
    licence = (ROOT / "LICENSE").read_bytes()
    assert [*problems_of_wheel(package, wheel, licence), *problems_of_sdist(package, sdist)] == []


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_classifiers_name_the_pythons_that_are_supported(project: Path) -> None:
    classifiers = read(project / "pyproject.toml")["project"]["classifiers"]

    assert tuple(re.findall(r"Python :: (3\.\d+)", " ".join(classifiers))) == SUPPORTED


def test_the_suite_runs_on_each_of_them() -> None:
    (matrix,) = read(ROOT / "hatch.toml")["envs"]["hatch-test"]["matrix"]
    jobs = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text(encoding="utf-8"))["jobs"]
    (first,) = (
        step["with"]["python-version"] for step in jobs["ci"]["steps"] if "with" in step and "setup" in step["uses"]
    )

    assert tuple(matrix["python"]) == SUPPORTED
    assert (first, *jobs["suite"]["strategy"]["matrix"]["python"]) == SUPPORTED
    assert tuple(jobs["wheels"]["strategy"]["matrix"]["python"]) == SUPPORTED


def read(path: Path) -> dict[str, Any]:
    return tomllib.loads(path.read_text(encoding="utf-8"))
