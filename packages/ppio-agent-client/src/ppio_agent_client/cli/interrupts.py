"""Questions of an agent that interrupted its run, and the answers that resume it."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from .errors import EXIT_ASKED, CommandError
from .messages import tr
from .rendering import without_controls

if TYPE_CHECKING:
    from ppio_agent_models import Interrupt

_WORDS: Final = {"y": True, "yes": True, "n": False, "no": False}
_APPROVALS: Final = ("approved", "approve", "accepted")
"""Fields of a response schema that approve or deny an action."""


def answers_to(interrupts: Sequence[Interrupt], ask: Callable[[str], str | None]) -> list[dict[str, Any]]:
    """Return the field `resume` of the request that resumes the run.

    Args:
        interrupts: All interrupts of the run; each needs an answer.
        ask: Asks the user; returns None if there is no answer.

    Raises:
        CommandError: A question was not answered.
    """
    answers = []
    for interrupt in interrupts:
        said = ask(question_of(interrupt))
        if said is None:
            raise not_answered(interrupts)
        answers.append(_answer(interrupt, said.strip()))
    return answers


def question_of(interrupt: Interrupt) -> str:
    """Return a question as it is shown on a terminal."""
    question = interrupt.message or tr("The agent is waiting for an answer ({reason}).", reason=interrupt.reason)
    hint = tr("[y/n, text or JSON; an empty line cancels]")
    return f"{without_controls(question)}\n{hint}"


def not_answered(interrupts: Sequence[Interrupt]) -> CommandError:
    """Return the error for questions that no user can answer; with `--json` it lists all of them."""
    answer = f'{{"resume": [{{"interrupt_id": "{without_controls(interrupts[0].id)}", "status": "resolved"'
    option = f"--input '{answer}, \"payload\": true}}]}}'"
    return CommandError(
        tr("The agent asks: {question}", question=without_controls(interrupts[0].message or interrupts[0].reason)),
        code=EXIT_ASKED,
        hint=tr("Answer it in the same session: {option}", option=option),
        facts={"interrupts": [interrupt.model_dump(mode="json") for interrupt in interrupts]},
    )


def _answer(interrupt: Interrupt, said: str) -> dict[str, Any]:
    if not said:
        return {"interrupt_id": interrupt.id, "status": "cancelled"}
    return {"interrupt_id": interrupt.id, "status": "resolved", "payload": _payload(interrupt, said)}


def _payload(interrupt: Interrupt, said: str) -> Any:
    """Return the answer: yes and no in the form that the schema requires, else JSON, else the text itself."""
    schema = interrupt.response_schema or {}
    if schema.get("type") == "string":
        return said
    if (approved := _WORDS.get(said.lower())) is not None:
        field = next((name for name in _APPROVALS if name in schema.get("properties", {})), None)
        return approved if field is None else {field: approved}
    try:
        return json.loads(said)
    except (ValueError, RecursionError):
        return said
