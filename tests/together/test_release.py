"""One version for three wheels: set in every place at once, and told when one place disagrees."""

import shutil
from pathlib import Path

import pytest

from tests.support.processes import run_to_the_end

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """Return a copy of what a release changes."""
    nothing_built = shutil.ignore_patterns("__pycache__", ".*")
    for folder in ("packages", "scripts"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=nothing_built)
    return tmp_path


def test_the_repository_is_in_lockstep() -> None:
    finished = run_to_the_end(ROOT / "scripts/release.py", "--check")

    assert finished.returncode == 0, finished.stdout


@pytest.mark.parametrize("version", ["7.8.9", "7.8.9rc1"])
def test_a_release_sets_every_place(copy: Path, version: str) -> None:
    finished = run_to_the_end(copy / "scripts/release.py", version)

    assert (finished.returncode, finished.stdout) == (0, f"in lockstep: {version}\n")
    for name in ("models", "runtime", "client"):
        project = (copy / f"packages/ppio-agent-{name}/pyproject.toml").read_text(encoding="utf-8")
        assert f'version = "{version}"' in project
        assert name == "models" or f'"ppio-agent-models=={version}"' in project


def test_a_place_that_disagrees_is_named(copy: Path) -> None:
    project = copy / "packages/ppio-agent-client/pyproject.toml"
    project.write_text(project.read_text(encoding="utf-8").replace("models==", "models==9"), encoding="utf-8")

    finished = run_to_the_end(copy / "scripts/release.py", "--check")

    assert finished.returncode == 1
    assert "packages/ppio-agent-client/pyproject.toml says " in finished.stdout


def test_something_that_is_no_version_is_refused(copy: Path) -> None:
    assert run_to_the_end(copy / "scripts/release.py", "next").returncode == 2
