"""Settings that name a Redis: what is wrong with them is told when the app is made, and never with a password."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp

pytestmark = pytest.mark.contract
ADDRESSES = ["redis://:hunter2@host:port/0", "redis+sentinel://:hunter2@127.0.0.1:26379"]
STORE, LIMIT = "AgentConfig(event_store={!r})", "AgentConfig(rate_limit={{'storage_uri': {!r}}})"


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        *(({"event_store": address}, "event_store") for address in (*ADDRESSES, "redis://h?prefix=a%20b")),
        *(({"rate_limit": {"storage_uri": address}}, "storage_uri") for address in ADDRESSES),
    ],
)
def test_wrong_address_fails_when_the_app_is_made(settings: dict[str, Any], name: str) -> None:
    pytest.importorskip("redis", reason="the extra [redis] is not installed")
    with pytest.raises(ConfigurationError, match=name) as caught:
        PPIOAgentRuntimeApp(AgentConfig(**settings))
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("settings", [STORE, LIMIT], ids=["store", "limit"])
def test_without_the_extra_the_error_names_the_install_line(settings: str) -> None:
    program = f"""
import sys
from importlib.machinery import PathFinder
from ppio_agent_models import ConfigurationError
from ppio_agent_runtime import AgentConfig, PPIOAgentRuntimeApp

class WithoutRedis(PathFinder):
    @classmethod
    def find_spec(cls, name, path=None, target=None):
        return None if name == "redis" else super().find_spec(name, path, target)

sys.meta_path[sys.meta_path.index(PathFinder)] = WithoutRedis
try:
    PPIOAgentRuntimeApp({settings.format("redis://:hunter2@127.0.0.1")})
except ConfigurationError as error:
    assert "pip install 'ppio-agent-runtime[redis]'" in str(error), error
    assert "hunter2" not in str(error)
else:
    raise AssertionError("it started")
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
