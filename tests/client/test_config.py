"""Where settings come from, and which are refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from ppio_agent_client import AgentRuntimeClient, ClientConfig, ConfigurationError
from ppio_agent_client._config import settle

ENVIRONMENT = {
    "PPIO_API_KEY": "env-key",
    "PPIO_API_SECRET": "env-secret",
    "PPIO_API_URL": "https://env.example",
    "PPIO_DOMAIN": "env.example",
    "PPIO_SANDBOX_URL": "https://gateway.example",
    "PPIO_AGENT_PROVIDER": "env-provider",
    "PPIO_AGENT_SESSION_SECRET": "env-session-secret",
}


@pytest.mark.contract
def test_the_defaults_are_those_of_the_contract() -> None:
    config = ClientConfig()
    limits = (config.connect_timeout, config.first_byte_timeout, config.idle_timeout, config.timeout)
    assert limits == (10.0, None, 60.0, 300.0)
    assert (config.max_retries, config.retry_delay) == (3, 1.0)
    assert (config.enable_cache, config.cache_ttl) == (True, 300.0)


def test_an_argument_wins() -> None:
    config = ClientConfig(api_key="config-key", timeout=7)
    assert settle(config, {"api_key": "given", "timeout": 5.0}, ENVIRONMENT).api_key == "given"
    assert settle(config, {"api_key": "given", "timeout": 5.0}, ENVIRONMENT).timeout == 5.0


def test_the_config_wins_over_the_environment() -> None:
    config = ClientConfig(api_key="config-key", timeout=7)
    assert settle(config, {"api_key": None, "timeout": None}, ENVIRONMENT).api_key == "config-key"
    assert settle(config, {"api_key": None, "timeout": None}, ENVIRONMENT).timeout == 7


def test_the_environment_wins_over_the_default() -> None:
    config = settle(None, {}, ENVIRONMENT)
    found = (config.api_key, config.api_secret, config.base_url, config.provider)
    assert found == ("env-key", "env-secret", "https://env.example", "env-provider")
    assert (config.domain, config.sandbox_url) == ("env.example", "https://gateway.example")
    assert settle(None, {}, ENVIRONMENT).session_secret == "env-session-secret"


def test_an_empty_variable_counts_as_not_set() -> None:
    assert settle(None, {}, {"PPIO_API_KEY": ""}).api_key is None


@pytest.mark.contract
def test_a_client_shows_the_settings_that_hold() -> None:
    assert AgentRuntimeClient("key", timeout=9, config=ClientConfig(idle_timeout=1)).config.timeout == 9


@pytest.mark.contract
@pytest.mark.parametrize(
    "settings",
    [
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": "300"},
        {"timeout": float("nan")},
        {"timeout": True},
        {"connect_timeout": 0},
        {"first_byte_timeout": 0},
        {"idle_timeout": float("inf")},
        {"max_retries": -1},
        {"max_retries": 1.5},
        {"max_retries": None},
        {"max_connections": 0},
        {"max_connections": 1.5},
        {"max_connections": None},
        {"max_idle_connections": -1},
        {"max_idle_connections": 0.5},
        {"retry_delay": -0.1},
        {"retry_budget": -1},
        {"retry_budget": True},
        {"cache_ttl": None},
        {"platform_timeout": 0},
        {"platform_timeout": None},
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(settings: dict[str, Any]) -> None:
    (name,) = settings
    with pytest.raises(ConfigurationError, match=name):
        ClientConfig(**settings)


@pytest.mark.contract
def test_limits_can_be_switched_off() -> None:
    assert ClientConfig(timeout=None, connect_timeout=None, idle_timeout=None, retry_budget=None).timeout is None


@pytest.mark.contract
def test_no_secret_is_in_the_repr() -> None:
    config = ClientConfig(api_key="secret-1", api_secret="secret-2", session_secret="secret-3")
    assert "secret-" not in repr(config)


@pytest.mark.contract
def test_a_proxy_may_have_a_password_which_is_not_shown() -> None:
    assert "secret" not in repr(ClientConfig(proxy="http://user:secret@proxy:3128"))


@pytest.mark.contract
@pytest.mark.parametrize("name", ["timeot", "max_retry", "nothing_like_it"])
def test_a_setting_that_does_not_exist_is_refused_by_name(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        ClientConfig(**{name: 1})  # type: ignore[arg-type]


@pytest.mark.contract
def test_a_config_is_frozen_loads_from_json_and_dumps_without_secrets() -> None:
    secrets: dict[str, Any] = {"api_key": "s-1", "api_secret": "s-2", "session_secret": "s-3", "headers": {"X": "s-4"}}
    config = ClientConfig(timeout=5, proxy="http://user:s-5@proxy:3128", **secrets)
    with pytest.raises(ValidationError):
        config.timeout = 6
    dumped = config.model_dump_json()
    assert "s-" not in dumped + repr(config)
    loaded = ClientConfig.model_validate_json(dumped)
    assert (loaded.timeout, loaded.proxy, loaded.api_key) == (5, "http://proxy:3128", None)
    with pytest.raises(ConfigurationError, match="timeout"):
        ClientConfig.model_validate_json('{"timeout": "soon"}')


@pytest.mark.contract
def test_a_config_has_a_schema_for_editors() -> None:
    schema = ClientConfig.model_json_schema()
    assert schema["properties"].keys() == ClientConfig.model_fields.keys()
    assert schema["additionalProperties"] is False
    assert schema["properties"]["timeout"]["anyOf"][0] == {"type": "number", "exclusiveMinimum": 0}


@pytest.mark.contract
@pytest.mark.parametrize("key", [lambda: "fetched", "fixed"])
def test_a_config_takes_a_key_or_what_fetches_one(key: Any) -> None:
    assert ClientConfig(api_key=key).api_key is key
