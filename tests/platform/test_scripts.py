"""Scripts that serve by themselves, as agents of the platform."""

from __future__ import annotations

import json
from pathlib import Path

from ppio_agent_client import AgentRuntimeClient
from tests.support.platform import Platform, serving
from tests.support.platform_agent import agent_folder, settings
from tests.support.scripts import ON_PORT, SERVER


async def test_a_script_is_told_where_to_listen_on_the_platform_too(tmp_path: Path) -> None:
    source = agent_folder(tmp_path / "source", program=SERVER + ON_PORT)
    platform = Platform(tmp_path / "platform")
    manifest = {"spec": {"entrypoint": "main.py"}}
    platform.add_template("t-1", source, metadata={"agent_runtime": json.dumps(manifest)})
    with serving(platform) as server:
        async with AgentRuntimeClient(config=settings(server.url)) as client, await client.create_session("t-1") as one:
            assert (await one.invoke({})).result["places"][:2] == ["8080", "8080"]
        (started,) = platform.log.of("start")
        assert started.mentions('"PPIO_AGENT_HOST": "0.0.0.0"') or started.mentions('"PPIO_AGENT_HOST":"0.0.0.0"')
