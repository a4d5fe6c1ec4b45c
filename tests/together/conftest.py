"""A home for local sandboxes, empty before and after each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ppio_agent_client import SyncLocalSandboxProvider


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "home"
    yield folder
    provider = SyncLocalSandboxProvider(folder)
    for sandbox in provider.list_sandboxes():
        provider.kill(sandbox.sandbox_id)
