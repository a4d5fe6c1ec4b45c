"""Settings: argument over environment over default, and a wrong one fails at once with its name."""

from __future__ import annotations

import json
import logging
from typing import Any

import jsonschema
import pytest

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp, RateLimit

FIELDS: dict[str, tuple[Any, str, Any]] = {
    "host": ("0.0.0.0", "::1", "::1"),
    "port": (8080, " 9000 ", 9000),
    "debug": (False, "TRUE", True),
    "timeout": (300.0, "1.5", 1.5),
    "stream_timeout": (3600.0, "1e3", 1000.0),
    "background_timeout": (28800.0, "60", 60.0),
    "resume_window_seconds": (60.0, "0", 0.0),
    "event_log_max_invocations": (1000, "0", 0),
    "event_log_max_bytes": (64 * 1024 * 1024, "1000000", 1_000_000),
    "event_log_max_bytes_per_invocation": (8 * 1024 * 1024, "100000", 100_000),
    "event_log_max_age_seconds": (600.0, "0.5", 0.5),
    "event_store": (None, "sqlite:///events.db", "sqlite:///events.db"),
    "max_request_size": (1024 * 1024, "10", 10),
    "request_read_timeout_seconds": (30.0, "5", 5.0),
    "write_timeout_seconds": (60.0, "5", 5.0),
    "keep_alive_seconds": (75.0, "5", 5.0),
    "cors_origins": (["*"], "https://a.example, https://b.example", ["https://a.example", "https://b.example"]),
    "rate_limit": (None, "7/2", RateLimit(max_requests=7, window_seconds=2)),
    "forwarded_allow_ips": ([], "10.0.0.0/8,::1", ["10.0.0.0/8", "::1"]),
    "max_concurrency": (None, "3", 3),
    "max_concurrency_per_session": (None, "1", 1),
    "when_busy": ("reject", "queue", "queue"),
    "max_queue": (100, "0", 0),
    "sync_workers": (256, "4", 4),
    "isolate_handlers": (False, "yes", True),
    "heartbeat_seconds": (15.0, ".5", 0.5),
    "ping_timeout_seconds": (2.0, "3", 3.0),
    "shutdown_grace_seconds": (30.0, "0", 0.0),
    "enable_metrics": (True, "no", False),
    "log_format": ("text", "json", "json"),
    "access_log": (False, "1", True),
    "telemetry": (None, "false", False),
    "telemetry_flush": (False, "on", True),
    "api_keys": (None, "first,second", ["first", "second"]),
    "hmac_keys": (None, '{"id": "secret"}', {"id": "secret"}),
    "signature_max_age_seconds": (300.0, "60", 60.0),
    "metrics_public": (False, "true", True),
    "plugins": ([], "a, b", ["a", "b"]),
    "protocols": ([], "ag-ui, openai", ["ag-ui", "openai"]),
    "protocol_paths": (None, '{"ag-ui": "/invocations"}', {"ag-ui": "/invocations"}),
    "agent_name": ("agent", "clock", "clock"),
    "agent_description": (None, "Tells the time.", "Tells the time."),
    "agent_card_public": (True, "no", False),
    "mcp_sessions": (True, "no", False),
    "public_url": (None, "https://agent.example", "https://agent.example"),
    "expose_errors": (None, "off", False),
}
"""Each field's default, a text in the environment, and what that means."""
CASES = [(name, *case) for name, case in FIELDS.items()]


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in FIELDS:
        monkeypatch.delenv(f"PPIO_AGENT_{name.upper()}", raising=False)


def made(**given: Any) -> AgentConfig:
    return AgentConfig(**given)


def test_this_file_knows_every_field() -> None:
    assert AgentConfig().explain().keys() == FIELDS.keys()


def test_it_can_be_the_base_of_an_agents_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    class Mine(AgentConfig):
        model: str = "small"
        steps: int | None = None

    monkeypatch.setenv("PPIO_AGENT_STEPS", "3")
    mine = Mine(port=9000, model="large")

    assert (mine.port, mine.model, mine.steps, mine.timeout) == (9000, "large", 3, AgentConfig().timeout)
    assert PPIOAgentRuntimeApp(mine).config is mine
    with pytest.raises(ConfigurationError, match=r"Mine has no setting 'modle'\. Did you mean 'model'\?"):
        Mine(modle="x")  # type: ignore[call-arg]
    with pytest.raises(ConfigurationError, match=r"Mine\.steps must be a whole number"):
        Mine(steps="many")  # type: ignore[arg-type]


def test_own_setting_without_a_default_is_refused_where_it_is_written() -> None:
    with pytest.raises(ConfigurationError, match=r"Mine\.model needs a default"):

        class Mine(AgentConfig):
            model: str


@pytest.mark.parametrize(("name", "default", "text", "value"), CASES)
def test_argument_is_stronger_than_the_environment_and_that_than_the_default(
    name: str, default: Any, text: str, value: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert getattr(AgentConfig(), name) == default
    monkeypatch.setenv(f"PPIO_AGENT_{name.upper()}", text)
    assert getattr(AgentConfig(), name) == value
    assert getattr(made(**{name: default}), name) == default


@pytest.mark.contract
@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("host", "", "a string that is not empty"),
        ("host", 1, "a string that is not empty"),
        ("port", 65536, "at most 65535"),
        ("port", -1, "at least 0"),
        ("port", "http", "a whole number"),
        ("port", 80.0, "a whole number"),
        ("port", True, "a whole number"),
        ("port", None, "a whole number"),
        ("debug", "maybe", "true or false"),
        ("debug", 1, "true or false"),
        ("timeout", 0, "more than 0"),
        ("timeout", float("inf"), "a finite number"),
        ("timeout", float("nan"), "a finite number"),
        ("timeout", "1_0", "a finite number"),
        ("timeout", "1s", "a finite number"),
        ("timeout", False, "a finite number"),
        ("stream_timeout", -5, "more than 0"),
        ("max_request_size", 0, "at least 1"),
        ("background_timeout", 0, "more than 0"),
        ("resume_window_seconds", -1, "at least 0"),
        ("event_log_max_invocations", -1, "at least 0"),
        ("event_log_max_bytes", 65535, "at least 65536"),
        ("event_log_max_bytes_per_invocation", 4095, "at least 4096"),
        ("event_log_max_age_seconds", -1, "at least 0"),
        ("event_store", "", "a string that is not empty"),
        ("max_request_size", "9" * 5000, "a whole number"),
        ("request_read_timeout_seconds", 0, "more than 0"),
        ("cors_origins", [1], "a list of strings"),
        ("cors_origins", "[not json", "a list of strings"),
        ("cors_origins", {"*": 1}, "a list of strings"),
        ("sync_workers", 0, "at least 1"),
        ("sync_workers", 5000, "at most 4096"),
        ("isolate_handlers", "2", "true or false"),
        ("heartbeat_seconds", 0, "more than 0"),
        ("ping_timeout_seconds", 0, "more than 0"),
        ("shutdown_grace_seconds", -1, "at least 0"),
        ("expose_errors", "", "true or false"),
    ],
)
def test_wrong_argument_fails_with_the_field_and_the_rule(name: str, value: Any, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"AgentConfig\.{name} must be {sentence}"):
        made(**{name: value})


@pytest.mark.contract
@pytest.mark.parametrize(
    ("name", "text", "sentence"),
    [
        ("host", "", "a string that is not empty"),
        ("port", "", "a whole number"),
        ("port", "٣", "a whole number"),
        ("port", "70000", "at most 65535"),
        ("debug", "ja", "true or false"),
        ("timeout", "", "a finite number"),
        ("timeout", "infinity", "a finite number"),
        ("cors_origins", '["a", 1]', "a list of strings"),
        ("expose_errors", "", "true or false"),
    ],
)
def test_wrong_variable_fails_with_its_name_and_the_rule(
    name: str, text: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    variable = f"PPIO_AGENT_{name.upper()}"
    monkeypatch.setenv(variable, text)

    with pytest.raises(ConfigurationError, match=f"The variable {variable} must be {sentence}"):
        AgentConfig()


@pytest.mark.contract
def test_wrong_variable_does_not_matter_under_an_argument(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_PORT", "http")

    assert AgentConfig(port=1).port == 1


@pytest.mark.contract
def test_unknown_argument_fails_with_a_suggestion() -> None:
    with pytest.raises(ConfigurationError, match=r"AgentConfig has no setting 'prot'\. Did you mean 'port'\?"):
        made(prot=1)


@pytest.mark.contract
def test_unknown_variable_is_warned_about_with_a_suggestion(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PPIO_AGENT_TIMEOUTS", "s3cr3t")

    PPIOAgentRuntimeApp()

    (record,) = (record for record in caplog.records if "PPIO_AGENT_TIMEOUTS" in record.getMessage())
    assert record.levelno == logging.WARNING
    assert "Did you mean 'PPIO_AGENT_TIMEOUT'?" in record.getMessage()
    assert "s3cr3t" not in record.getMessage()


@pytest.mark.contract
@pytest.mark.parametrize("name", ["PPIO_AGENT_HOME", "PPIO_AGENT_PROVIDER", "PPIO_API_KEY"])
def test_variable_of_other_parts_of_the_sdk_is_not_warned_about(
    name: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(name, "x")

    PPIOAgentRuntimeApp()

    assert name not in caplog.text


@pytest.mark.contract
@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("a", ["a"]),
        ("a,b", ["a", "b"]),
        (" a , b ,", ["a", "b"]),
        ("", []),
        ('["a", "b,c"]', ["a", "b,c"]),
        (" []", []),
    ],
)
def test_list_in_the_environment_is_comma_separated_or_json(
    text: str, origins: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PPIO_AGENT_CORS_ORIGINS", text)

    assert AgentConfig().cors_origins == origins


@pytest.mark.contract
def test_list_is_copied() -> None:
    origins = ["a"]
    config = AgentConfig(cors_origins=origins)
    origins.append("b")

    assert config.cors_origins == ["a"]


@pytest.mark.contract
def test_default_list_is_not_shared() -> None:
    AgentConfig().cors_origins.append("x")

    assert AgentConfig().cors_origins == ["*"]


@pytest.mark.contract
def test_config_cannot_be_changed() -> None:
    config = AgentConfig()

    with pytest.raises(ConfigurationError, match=r"use replace\(port=\.\.\.\)"):
        config.port = 1  # type: ignore[misc]


@pytest.mark.contract
def test_replace_changes_some_fields_and_keeps_the_others() -> None:
    config = AgentConfig(port=1, timeout=2).replace(port=3)

    assert (config.port, config.timeout) == (3, 2)


@pytest.mark.contract
def test_replace_leaves_the_original_alone() -> None:
    config = AgentConfig(port=1)
    config.replace(port=3)

    assert config.port == 1


@pytest.mark.contract
def test_replace_checks_like_the_first_time() -> None:
    with pytest.raises(ConfigurationError, match=r"AgentConfig\.port"):
        AgentConfig().replace(port=-1)


@pytest.mark.contract
def test_replace_does_not_read_the_environment_again(monkeypatch: pytest.MonkeyPatch) -> None:
    config = AgentConfig()
    monkeypatch.setenv("PPIO_AGENT_PORT", "1")

    assert config.replace(timeout=5).port == 8080


@pytest.mark.contract
def test_replace_keeps_where_values_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_HOST", "::1")
    sources = {name: source for name, (_, source) in AgentConfig(port=1).replace(timeout=5).explain().items()}

    assert (sources["host"], sources["port"], sources["timeout"], sources["debug"]) == (
        "environment",
        "argument",
        "argument",
        "default",
    )


@pytest.mark.contract
def test_configs_with_the_same_values_are_equal() -> None:
    assert AgentConfig(port=8080) == AgentConfig()
    assert AgentConfig(port=1) != AgentConfig()


@pytest.mark.contract
def test_repr_shows_what_is_not_default() -> None:
    assert repr(AgentConfig(port=1, debug=True)) == "AgentConfig(port=1, debug=True)"


@pytest.mark.contract
def test_app_takes_its_config_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_PORT", "1")

    assert PPIOAgentRuntimeApp().config.port == 1


@pytest.mark.contract
def test_debug_of_the_app_is_debug_of_its_config() -> None:
    assert PPIOAgentRuntimeApp(debug=True).config.debug
    assert PPIOAgentRuntimeApp(AgentConfig(port=1), debug=True).config == AgentConfig(port=1, debug=True)


@pytest.mark.contract
@pytest.mark.parametrize("config", [True, {"port": 1}, "main.py"])
def test_app_refuses_a_config_of_another_type(config: Any) -> None:
    with pytest.raises(ConfigurationError, match="config must be an AgentConfig"):
        PPIOAgentRuntimeApp(config)


def test_settings_go_to_plain_data_and_back_without_what_is_secret() -> None:
    config = AgentConfig(port=9000, rate_limit=RateLimit(5, 60), cors_origins=["https://a.io"], api_keys=["secret"])
    plain = json.loads(json.dumps(config.as_dict()))
    assert "secret" not in str(plain)
    assert AgentConfig.from_mapping(plain | {"api_keys": ["secret"]}) == config


@pytest.mark.parametrize("given", [{"prot": 1}, {"port": "x"}, {"rate_limit": {"max": 1}}, ["port"]])
def test_a_mapping_that_is_wrong_is_refused(given: Any) -> None:
    with pytest.raises(ConfigurationError):
        AgentConfig.from_mapping(given)


def test_the_schema_takes_what_the_settings_take_and_describes_every_field() -> None:
    schema = AgentConfig.json_schema()
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    assert [name for name, own in schema["properties"].items() if not own.get("description")] == []
    validator.validate(AgentConfig(rate_limit=RateLimit(5, 60)).as_dict())
    for wrong in ({"port": 70_000}, {"timeout": 0}, {"when_busy": "wait"}, {"prot": 1}, {"rate_limit": {"max": 1}}):
        assert not validator.is_valid(wrong), wrong
