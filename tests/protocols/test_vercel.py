"""The UI message stream of Vercel's AI SDK, as `DefaultChatTransport` asks for it and reads it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.support.calls import call
from tests.support.raw_http import Answer

pytestmark = pytest.mark.contract


def user(text: str) -> dict[str, Any]:
    return {"id": "u", "role": "user", "parts": [{"type": "text", "text": text}]}


def chat(url: str, *messages: dict[str, Any], **headers: str) -> Answer:
    body = {"id": "chat", "messages": messages, "trigger": "submit-message"}
    return call(url, "/api/chat", body=json.dumps(body).encode(), headers=headers)


def parts_of(answer: Answer) -> list[Any]:
    assert answer.status == 200, answer.body
    assert answer.headers["x-vercel-ai-ui-message-stream"] == "v1"
    *lines, done = [line for line in answer.body.decode().split("\n\n") if line]
    assert done == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines]


def test_a_run_is_one_message_in_parts() -> None:
    clock = Clock()
    with serving(clock, ["vercel"]) as url:
        parts = parts_of(chat(url, user("time?")))

    assert [part["type"] for part in parts] == [
        *("start", "start-step", "text-start", "text-delta", "text-delta", "text-end"),
        *("reasoning-start", "reasoning-delta", "reasoning-end"),
        *("tool-input-start", "tool-input-delta", "tool-input-available", "tool-output-available"),
        *("data-state", "text-start", "text-delta", "text-end", "finish-step", "finish"),
    ]
    assert [part["delta"] for part in parts if part["type"] == "text-delta"] == TEXT
    assert next(part["input"] for part in parts if part["type"] == "tool-input-available") == {"zone": "utc"}
    assert next(part["output"] for part in parts if part["type"] == "tool-output-available") == {"hour": 12}
    assert all(part["dynamic"] for part in parts if part["type"].startswith("tool-") and "delta" not in part["type"])
    assert (clock.contexts[0].session_id, clock.contexts[0].protocol) == ("chat", "vercel")


def test_a_question_is_an_approval_and_its_answer_resumes_the_run() -> None:
    clock = Clock()
    with serving(clock, ["vercel"]) as url:
        parts = parts_of(chat(url, user("ask")))
        request = next(part for part in parts if part["type"] == "tool-approval-request")
        asked = {
            "type": "dynamic-tool",
            "toolCallId": request["toolCallId"],
            "toolName": "input_required",
            "state": "approval-responded",
            "input": {},
            "approval": {"id": request["approvalId"], "approved": True},
        }
        answered = parts_of(chat(url, user("ask"), {"id": "a", "role": "assistant", "parts": [asked]}))

    assert any(part.get("toolCallId") == request["toolCallId"] for part in parts if part["type"] != request["type"])
    assert answered[0] == {"type": "start", "messageId": "a"}  # the message that asked goes on
    assert [part["delta"] for part in answered if part["type"] == "text-delta"] == [
        "You said {'approved': True, 'reason': None}."
    ]


def test_the_whole_conversation_reaches_the_agent() -> None:
    clock = Clock()
    image = {"type": "file", "mediaType": "image/png", "url": "https://e.example/a.png"}
    said = [
        {"type": "step-start"},
        {"type": "text", "text": "Looking."},
        {"type": "tool-clock", "toolCallId": "c", "state": "output-available", "input": {"a": 1}, "output": {"b": 2}},
    ]
    with serving(clock, ["vercel"]) as url:
        shown = {"id": "u2", "role": "user", "parts": [{"type": "text", "text": "And?"}, image]}
        parts_of(chat(url, user("time?"), {"id": "a", "role": "assistant", "parts": said}, shown))

    first, answer, result, last = clock.asked[0].messages
    assert first == {"id": "u", "role": "user", "content": "time?"}
    assert answer["toolCalls"][0]["function"] == {"name": "clock", "arguments": '{"a": 1}'}
    assert (result["role"], result["toolCallId"], result["content"]) == ("tool", "c", '{"b": 2}')
    assert [part["type"] for part in last["content"]] == ["text", "image"]
    assert clock.asked[0].prompt == "And?"


def test_failures_are_a_status_before_the_stream_and_a_part_in_it() -> None:
    with serving(Clock(), ["vercel"]) as url:
        at_once = chat(url, user("fail at once"))
        later = chat(url, user("fail later"))
        wrong = call(url, "/api/chat", body=b"{}")

    assert (at_once.status, at_once.body, at_once.headers["content-type"]) == (
        418,
        b"No clock.",
        "text/plain; charset=utf-8",
    )
    assert parts_of(later)[-1] == {"type": "error", "errorText": "The clock stopped."}
    assert (wrong.status, wrong.body) == (
        422,
        b"A chat request is a JSON object with messages, a list of objects.",
    )
