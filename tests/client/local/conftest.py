"""Homes for the tests of local sandboxes, in which nothing outlives its test."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import Place

if sys.platform != "linux":  # What the tests see of processes is in /proc.
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """A home in a folder whose name has spaces and letters beyond ASCII."""
    place = Place(tmp_path / "a folder für tests")
    yield place
    place.clear()
