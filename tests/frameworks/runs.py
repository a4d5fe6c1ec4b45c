"""Runs of agents over HTTP: a value, or typed events in an order that ag-ui-validate has judged."""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

from tests.support.raw_http import Answer, invoke

EVENTS = {"PPIO-Agent-Events": "1", "Accept": "text/event-stream"}
JSON = {"Accept": "application/json"}
TEXT = ["TEXT_MESSAGE_START", "TEXT_MESSAGE_CONTENT", "TEXT_MESSAGE_END"]


def said_in(session: str, **headers: str) -> dict[str, str]:
    return {"X-PPIO-Session-Id": session, **headers}


def ask(url: str, prompt: str, session: str | None = None, **more: Any) -> Any:
    """Return the result of a prompt as one value."""
    return invoke(url, {"prompt": prompt, **more}, {**JSON, **({} if session is None else said_in(session))}).result


def typed(url: str, payload: dict[str, Any], session: str | None = None) -> list[dict[str, Any]]:
    """Return the events of a run."""
    answer = invoke(url, payload, {**EVENTS, **({} if session is None else said_in(session))})
    assert answer.status == 200, answer.body
    # A run that goes on has the results of calls that the run before it began (docs.ag-ui.com/concepts/interrupts).
    judge(answer, allowed={"AGUI207"} if "resume" in payload else set())
    return [event.data for event in answer.events]


def judge(answer: Answer, allowed: AbstractSet[str] = frozenset()) -> None:
    """Have the order of a run's events judged by ag-ui-validate."""
    from ag_ui_validate import create_validator  # in the environments of frameworks

    validator = create_validator()
    found = [each for event in answer.events for each in validator.feed(event.data)] + validator.finalize()
    assert not [each for each in found if each.severity != "info" and each.rule not in allowed]


def types(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events, of equal ones in a row of text the first alone."""
    found = [event["type"] for event in events]
    return [
        kind
        for index, kind in enumerate(found)
        if kind != "TEXT_MESSAGE_CONTENT" or found[index - 1] != "TEXT_MESSAGE_CONTENT"
    ]


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "TEXT_MESSAGE_CONTENT")


def interrupts_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    assert events[-1]["outcome"]["type"] == "interrupt", events[-1]
    found: list[dict[str, Any]] = events[-1]["outcome"]["interrupts"]
    return found
