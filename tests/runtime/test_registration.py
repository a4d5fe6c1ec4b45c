"""What cannot be an entrypoint says why, when it is registered."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from ppio_agent_runtime import ConfigurationError, PPIOAgentRuntimeApp

pytestmark = pytest.mark.contract

HandlerFunction = Callable[..., Any]


def plain(payload: dict[str, int]) -> int:
    return payload["n"]


async def coroutine(payload: dict[str, int]) -> int:
    return payload["n"]


def two_required(payload: Any, other: Any) -> None: ...


def required_keyword(payload: Any, *, model: str) -> None: ...


def three(payload: Any, context: Any, model: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "parameter"), [(two_required, "other"), (required_keyword, "model"), (three, "model")]
)
def test_parameter_that_nothing_would_fill_is_named_at_registration(function: HandlerFunction, parameter: str) -> None:
    app = PPIOAgentRuntimeApp()

    with pytest.raises(ConfigurationError, match=f"{function.__name__} requires the parameter '{parameter}'"):
        app.entrypoint(function)


def test_unresolvable_payload_annotation_is_named_at_registration() -> None:
    def handler(payload: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(ConfigurationError, match=r"'Nowhere' of .*handler's parameter 'payload' cannot be resolved"):
        PPIOAgentRuntimeApp().entrypoint(handler)


def test_payload_type_that_pydantic_does_not_know_is_named_at_registration() -> None:
    def handler(payload: threading.Thread) -> None: ...

    with pytest.raises(ConfigurationError, match=r"threading\.Thread"):
        PPIOAgentRuntimeApp().entrypoint(handler)


def test_entrypoint_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"neither a function nor an agent .*: LangGraph"):
        PPIOAgentRuntimeApp().entrypoint("main.py")


def test_second_entrypoint_is_refused_and_names_both() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(plain)

    with pytest.raises(ConfigurationError, match=r"already has the entrypoint .*\.plain; .*\.coroutine needs another"):
        app.entrypoint(coroutine)


def test_first_entrypoint_stays_after_a_second_is_refused() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(plain)
    with pytest.raises(ConfigurationError):
        app.entrypoint(coroutine)

    assert app.entrypoint_name == f"{__name__}.plain"


def test_decorator_returns_the_function_as_it_was() -> None:
    assert PPIOAgentRuntimeApp().entrypoint(plain) is plain


def test_app_without_an_entrypoint_is_not_served() -> None:
    with pytest.raises(ConfigurationError, match="has no entrypoint"):
        PPIOAgentRuntimeApp().run(port=0)


@pytest.mark.parametrize("name", ["entrypoint", "ping", "middleware", "websocket", "on_lifespan"])
def test_decorator_with_parentheses_is_one_sentence(name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"@app\.{name}") as caught:
        getattr(PPIOAgentRuntimeApp(), name)()
    assert str(caught.value).count(". ") == 0


class Agent:
    def __call__(self, payload: dict[str, Any]) -> str:
        return "here"


def test_class_as_entrypoint_is_told_to_be_an_object() -> None:
    with pytest.raises(ConfigurationError, match=r"Agent is a class.* app\.entrypoint\(Agent\(\.\.\.\)\)"):
        PPIOAgentRuntimeApp().entrypoint(Agent)
    PPIOAgentRuntimeApp().entrypoint(Agent())


@pytest.mark.parametrize("name", ["ping", "websocket"])
def test_class_is_no_other_handler_either(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"@app.{name}"):
        getattr(PPIOAgentRuntimeApp(), name)(Agent)


@pytest.mark.parametrize(
    ("argument", "sentence"),
    [
        ("port", r"not 'port': write PPIOAgentRuntimeApp\(AgentConfig\(port=\.\.\.\)\)"),
        ("bogus", r"takes config, debug and lifespan, not 'bogus'\.$"),
    ],
)
def test_argument_that_is_a_setting_or_nothing_is_told(argument: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        PPIOAgentRuntimeApp(**{argument: 1})  # type: ignore[arg-type]


def test_settings_by_position_are_told() -> None:
    with pytest.raises(ConfigurationError, match="config must be an AgentConfig, not 8080"):
        PPIOAgentRuntimeApp(8080)  # type: ignore[arg-type]
