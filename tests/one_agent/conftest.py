"""The one agent, which runs as long as the tests of this folder do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ppio_agent_runtime.testing import running
from tests.frameworks.script import Script


@pytest.fixture(scope="session")
def script() -> Script:
    return Script()


@pytest.fixture(scope="session")
def url(script: Script) -> Iterator[str]:
    from tests.one_agent.agent import app_of  # skips where LangGraph is missing

    with running(app_of(script)) as url:
        yield url
