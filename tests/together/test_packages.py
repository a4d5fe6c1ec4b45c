"""What is published: files in each wheel and sdist. `hatch run wheels` installs them too."""

import subprocess
import sys
from pathlib import Path

import pytest

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
