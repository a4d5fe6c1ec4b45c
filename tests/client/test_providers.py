"""Providers of others: found by name through entry points, refused when they do not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ppio_agent_client import AgentRuntimeClient, ConfigurationError, SyncAgentRuntimeClient
from tests.client._async.shelf import Shelf
from tests.client._sync.shelf import Shelf as BlockingShelf

pytestmark = pytest.mark.contract

ROOT = Path(__file__).parents[2]
PROGRAM = """
import asyncio
from ppio_agent_client import AgentRuntimeClient, ClientConfig, SyncAgentRuntimeClient

async def main():
    async with AgentRuntimeClient(provider="shelf", config=ClientConfig(api_key="sk_1")) as client:
        print([template.template_id for template in await client.list_templates()])

asyncio.run(main())
with SyncAgentRuntimeClient(provider="shelf") as client:
    print([template.template_id for template in client.list_templates()])
"""


@pytest.mark.slow
def test_a_provider_is_found_by_the_name_of_its_entry_point(tmp_path: Path) -> None:
    package = tmp_path / "shelf_provider-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: shelf-provider\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[ppio_agent_client.providers]\nshelf = shelf_provider:make\n"
        "[ppio_agent_client.sync_providers]\nshelf = shelf_provider:make_blocking\n"
    )
    (tmp_path / "shelf_provider.py").write_text(
        "from tests.client._async.shelf import Shelf\nfrom tests.client._sync.shelf import Shelf as BlockingShelf\n"
        "def make(config):\n    assert config.api_key == 'sk_1'\n    return Shelf()\n"
        "def make_blocking(config):\n    return BlockingShelf()\n"
    )
    program = f"import sys\nsys.path[:0] = {[str(tmp_path), str(ROOT)]!r}\n{PROGRAM}"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["['t-1']", "['t-1']"]


def test_a_blocking_provider_does_not_fit_the_async_client() -> None:
    with pytest.raises(ConfigurationError, match="coroutine functions"):
        AgentRuntimeClient(provider=BlockingShelf())  # type: ignore[arg-type]


def test_an_async_provider_does_not_fit_the_blocking_client() -> None:
    with pytest.raises(ConfigurationError, match="plain functions"):
        SyncAgentRuntimeClient(provider=Shelf())  # type: ignore[arg-type]


def test_what_is_no_provider_at_all_does_not_fit() -> None:
    with pytest.raises(ConfigurationError, match="object"):
        AgentRuntimeClient(provider=object())  # type: ignore[arg-type]
