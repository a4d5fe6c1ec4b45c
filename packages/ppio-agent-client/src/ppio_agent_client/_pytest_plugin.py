"""The fixture `fake_agent`, found by an entry point. Nothing of the SDK is imported until a test asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from .testing import FakeAgent


@pytest.fixture
def fake_agent() -> FakeAgent:
    """Return a new `ppio_agent_client.testing.FakeAgent`."""
    from .testing import FakeAgent

    return FakeAgent()
