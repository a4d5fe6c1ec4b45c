"""The usage examples of the design on the platform, with its signed requests, as the default domain is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.agents import write_agent
from tests.support.design_examples import BACKEND, BACKEND_PRINTS, SERVICE, SERVICE_PRINTS, TEMPLATES, run
from tests.support.platform import Platform, running

SECRETS = {"your-api-key": "your-api-secret", "key": "secret"}
"""The keys that the examples use, with their secrets."""


@pytest.fixture(params=["sandbox.ppio.cn", "cn-beijing-1.sandbox.ppio.com"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Platform, dict[str, str]]]:
    is_legacy = request.param == "sandbox.ppio.cn"
    with running(tmp_path / "platform", legacy=is_legacy, pairs=SECRETS) as (platform, url):
        for template_id, kind in TEMPLATES.items():
            platform.add_template(template_id, write_agent(tmp_path / template_id, kind))
        yield (
            platform,
            {
                "PPIO_API_URL": url,
                "PPIO_SANDBOX_URL": url,
                "PPIO_DOMAIN": request.param,
                "HOME": str(tmp_path),
                "PATH": "/usr/bin:/bin",
                "PYTHONIOENCODING": "utf-8",
            },
        )


@pytest.mark.slow
def test_the_backend_example_runs(place: tuple[Platform, dict[str, str]]) -> None:
    platform, environment = place

    assert run(BACKEND, environment) == BACKEND_PRINTS

    assert len(platform.sandboxes) == 0
    assert platform.sandboxes.made == 3
    assert not [call for call in platform.log if call.mentions("your-api-secret")]


@pytest.mark.slow
def test_the_service_example_runs(place: tuple[Platform, dict[str, str]]) -> None:
    platform, environment = place

    assert run(SERVICE, environment) == SERVICE_PRINTS

    assert len(platform.sandboxes) == 0
