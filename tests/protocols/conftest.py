"""What the tests of several protocols ask for."""

from __future__ import annotations

from typing import Any

import pytest

from tests.protocols.agent import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["auto", "legacy"])
def mode(request: pytest.FixtureRequest) -> Any:
    """Return an era of MCP."""
    return request.param
