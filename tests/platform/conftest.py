from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.platform import Platform, Server, serving


@pytest.fixture
def platform(tmp_path: Path) -> Platform:
    """An emulator of the platform, as the domains beside the default one are."""
    return Platform(tmp_path / "platform", pairs={"ak-1": "a secret"})


@pytest.fixture
def server(platform: Platform) -> Iterator[Server]:
    with serving(platform) as server:
        yield server


@pytest.fixture
def url(server: Server) -> str:
    return server.url
