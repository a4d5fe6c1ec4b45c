"""The usage examples of the design, with sandboxes on this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from ppio_agent_client import SyncLocalSandboxProvider
from tests.support.agents import write_agent
from tests.support.design_examples import BACKEND, BACKEND_PRINTS, SERVICE, SERVICE_PRINTS, TEMPLATES, run

pytestmark = pytest.mark.contract


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    provider = SyncLocalSandboxProvider(home)
    for template_id, kind in TEMPLATES.items():
        provider.deploy(write_agent(home.parent / template_id, kind))
    return {
        "PPIO_AGENT_PROVIDER": "local",
        "PPIO_AGENT_HOME": str(home),
        "HOME": str(home.parent),
        "PATH": "/usr/bin:/bin",
        "PYTHONIOENCODING": "utf-8",
    }


@pytest.mark.slow
def test_the_backend_example_runs(environment: dict[str, str], home: Path) -> None:
    assert run(BACKEND, environment) == BACKEND_PRINTS
    assert SyncLocalSandboxProvider(home).list_sandboxes() == []


@pytest.mark.slow
def test_the_service_example_runs(environment: dict[str, str], home: Path) -> None:
    assert run(SERVICE, environment) == SERVICE_PRINTS
    assert SyncLocalSandboxProvider(home).list_sandboxes() == []
