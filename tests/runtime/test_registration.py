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
    with pytest.raises(ConfigurationError, match=r"'main\.py' cannot be called"):
        PPIOAgentRuntimeApp().entrypoint("main.py")  # type: ignore[type-var]


def test_second_entrypoint_is_refused_and_names_both() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(plain)

    with pytest.raises(ConfigurationError, match=r"has the entrypoint .*\.plain already; .*\.coroutine needs another"):
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
