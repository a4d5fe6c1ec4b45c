"""Which provider a client finds: by key, by name, by the environment."""

from __future__ import annotations

import pytest

from ppio_agent_client import (
    AgentRuntimeClient,
    AuthenticationError,
    ClientConfig,
    ConfigurationError,
)

pytestmark = pytest.mark.contract


async def test_without_a_key_and_a_provider_the_error_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PPIO_API_KEY", raising=False)
    monkeypatch.delenv("PPIO_AGENT_PROVIDER", raising=False)
    async with AgentRuntimeClient() as client:
        with pytest.raises(AuthenticationError, match=r"PPIO_API_KEY.*LocalSandboxProvider"):
            await client.create_session("t-1")


async def test_a_key_alone_leads_to_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PPIO_AGENT_PROVIDER", raising=False)
    async with AgentRuntimeClient(api_key="sk_secret", config=ClientConfig(domain="not/a/domain")) as client:
        with pytest.raises(ConfigurationError, match="not/a/domain") as caught:
            await client.list_templates()
    assert "sk_secret" not in str(caught.value)


async def test_an_unknown_provider_is_told_with_the_known_ones() -> None:
    async with AgentRuntimeClient(provider="elsewhere") as client:
        with pytest.raises(ConfigurationError, match=r"'elsewhere'; known are 'local', 'platform'"):
            await client.list_sessions()


async def test_the_environment_names_the_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_PROVIDER", "elsewhere")
    async with AgentRuntimeClient(api_key="sk") as client:
        with pytest.raises(ConfigurationError, match="'elsewhere'"):
            await client.list_sessions()


async def test_no_secret_is_in_the_repr_of_a_client() -> None:
    async with AgentRuntimeClient("sk_one", "sk_two", provider="local") as client:
        shown = repr(client) + repr(client.config) + repr(client.attach("http://127.0.0.1:1", "sk_three"))
    assert "sk_" not in shown
