"""OpenAI's own client against the agent: Chat Completions, Responses, models, and its errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.agent import TEXT, Clock, serving
from tests.support.balancer import balancing
from tests.support.gates import eventually
from tests.support.redis_server import needs_redis_server, redis_server
from tests.support.replicas import replicas

openai = pytest.importorskip("openai", reason="needs OpenAI's client: hatch run judges:test")
pytestmark = pytest.mark.contract

WHOLE = "".join(TEXT)
PARAMETERS = {"type": "object", "properties": {"city": {"type": "string"}}}
WEATHER = {"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}


@pytest.fixture
def client(clock: Clock) -> Iterator[Any]:
    with (
        serving(clock, ["openai"], api_keys=["key"]) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client,
    ):
        yield client


def user(text: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": text}]


def test_the_agent_is_the_one_model(client: Any) -> None:
    assert [model.id for model in client.models.list()] == ["clock"]
    assert client.models.retrieve("clock").owned_by == "ppio-agent-runtime"
    with pytest.raises(openai.NotFoundError, match="does not exist"):
        client.models.retrieve("gpt")


def test_a_chat_completion_is_the_whole_answer(client: Any, clock: Clock) -> None:
    completion = client.chat.completions.create(model="m", messages=user("time?"))
    choice = completion.choices[0]

    assert (choice.message.content, choice.finish_reason) == (WHOLE, "stop")
    assert choice.message.reasoning_content == "A clock would help."
    assert choice.message.tool_calls is None
    assert completion.usage.total_tokens == 7
    assert completion.id == f"chatcmpl-{clock.contexts[0].invocation_id}"
    assert completion._request_id == clock.contexts[0].request_id
    assert (clock.contexts[0].session_id, clock.contexts[0].protocol) == (None, "openai")


def test_a_chat_completion_streams(client: Any) -> None:
    options = {"include_usage": True}
    chunks = list(
        client.chat.completions.create(model="m", messages=user("time?"), stream=True, stream_options=options)
    )
    deltas = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]

    assert [delta for delta in deltas if delta] == TEXT
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
    assert chunks[-1].usage.prompt_tokens == 3


def test_the_callers_tool_is_called_by_the_caller(client: Any, clock: Clock) -> None:
    with client.chat.completions.stream(model="m", messages=user("time?"), tools=[WEATHER]) as stream:
        for _ in stream:
            pass
        choice = stream.get_final_completion().choices[0]
    asked = choice.message.tool_calls[0]
    result = {"role": "tool", "tool_call_id": asked.id, "content": "sunny"}
    messages = [*user("time?"), choice.message.model_dump(exclude_none=True), result]
    final = client.chat.completions.create(model="m", messages=messages, tools=[WEATHER])

    assert choice.finish_reason == "tool_calls"
    assert (asked.function.name, asked.function.arguments) == ("weather", '{"city": "Rome"}')
    assert final.choices[0].message.content == WHOLE
    assert clock.asked[0].tools == [{"name": "weather", "description": "", "parameters": PARAMETERS}]
    assert clock.asked[1].messages[1]["toolCalls"][0]["id"] == clock.asked[1].messages[2]["toolCallId"] == asked.id


def test_a_response_has_an_item_for_all_that_the_agent_did(client: Any) -> None:
    response = client.responses.create(model="m", input="time?")

    assert response.status == "completed"
    assert [item.type for item in response.output] == ["message", "reasoning", "mcp_call", "message"]
    assert response.output_text == WHOLE
    assert (response.output[2].arguments, response.output[2].output) == ('{"zone": "utc"}', '{"hour": 12}')
    assert response.usage.total_tokens == 7


def test_a_response_streams_events_in_order(client: Any) -> None:
    with client.responses.stream(model="m", input="time?") as stream:
        events = list(stream)
        final = stream.get_final_response()

    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.delta for event in events if event.type == "response.output_text.delta"] == TEXT
    assert final.output_text == WHOLE
    added = [event.item.id for event in events if event.type == "response.output_item.added"]
    assert [event.item.id for event in events if event.type == "response.output_item.done"] == added


def test_a_call_of_the_callers_tool_is_a_function_call(client: Any) -> None:
    tool = {"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}
    with client.responses.stream(model="m", input="time?", tools=[tool]) as stream:
        list(stream)
        item = stream.get_final_response().output[-1]
    output = {"type": "function_call_output", "call_id": item.call_id, "output": "sunny"}
    said = [*user("time?"), {"type": "function_call", "call_id": item.call_id, "name": item.name, "arguments": "{}"}]
    final = client.responses.create(model="m", input=[*said, output], tools=[tool])

    assert (item.type, item.name, item.arguments) == ("function_call", "weather", '{"city": "Rome"}')
    assert final.output_text == WHOLE


def test_the_session_is_that_of_the_previous_response_or_of_the_conversation(client: Any, clock: Clock) -> None:
    first = client.responses.create(model="m", input="time?")
    client.responses.create(model="m", input="time?", previous_response_id=first.id)
    client.responses.create(model="m", input="time?", conversation="conv")
    client.responses.create(model="m", input="time?")
    sessions = [context.session_id for context in clock.contexts]

    assert sessions[0] == sessions[1]
    assert sessions[2] == "conv"
    assert len(set(sessions)) == 3
    with pytest.raises(openai.NotFoundError, match="Previous response"):
        client.responses.create(model="m", input="time?", previous_response_id="resp_none")


def test_a_question_is_an_approval_request_and_its_answer_resumes_the_run(client: Any) -> None:
    asked = client.responses.create(model="m", input="ask")
    request = asked.output[-1]
    answer = {"type": "mcp_approval_response", "approval_request_id": request.id, "approve": True}
    answered = client.responses.create(model="m", input=[answer], previous_response_id=asked.id)
    in_chat = client.chat.completions.create(model="m", messages=user("ask"))

    assert request.type == "mcp_approval_request"
    assert answered.output_text == "You said {'approved': True, 'reason': None}."
    assert in_chat.choices[0].message.content == WHOLE + "Right?"


def test_a_response_in_the_background_is_retrieved_and_streamed_on(client: Any) -> None:
    response = client.responses.create(model="m", input="time?", background=True)
    begun = response.status
    eventually(lambda: client.responses.retrieve(response.id).status == "completed", "it is completed")
    whole = list(client.responses.create(model="m", input="time?", background=True, stream=True))
    for after in (0, 5, len(whole) - 2):
        rest = list(client.responses.retrieve(whole[0].response.id, stream=True, starting_after=after))
        assert [event.to_dict() for event in rest] == [event.to_dict() for event in whole[after + 1 :]]

    assert begun in ("queued", "in_progress")
    assert client.responses.retrieve(response.id).output_text == WHOLE


def test_a_response_in_the_background_that_is_asked_for_again_has_what_it_made(client: Any) -> None:
    key = {"Idempotency-Key": "again"}
    first = client.responses.create(model="clock", input="time?", background=True, extra_headers=key)
    list(client.responses.retrieve(first.id, stream=True))
    again = client.responses.with_raw_response.create(model="clock", input="time?", background=True, extra_headers=key)

    assert (again.parse().id, again.parse().status, again.parse().output_text) == (first.id, "completed", "".join(TEXT))
    assert again.headers["x-ppio-invocation-id"] == first.id.removeprefix("resp_")


def test_a_response_in_the_background_is_cancelled(client: Any, clock: Clock) -> None:
    response = client.responses.create(model="m", input="wait", background=True)
    eventually(lambda: client.responses.retrieve(response.id).status == "in_progress", "it runs")

    assert client.responses.cancel(response.id).status == "cancelled"
    assert client.responses.retrieve(response.id).status == "cancelled"
    assert clock.closed == 1


def test_a_key_runs_the_agent_once(client: Any, clock: Clock) -> None:
    key = {"Idempotency-Key": "k"}
    ids = {
        client.responses.create(model="m", input="time?", conversation="c", background=True, extra_headers=key).id
        for _ in range(3)
    }

    assert len(ids) == 1
    eventually(lambda: clock.closed == 1, "it has run")


def test_a_failure_before_the_stream_is_a_status_and_later_an_event(client: Any) -> None:
    for create in (client.chat.completions.create, client.responses.create):
        asked = (
            {"messages": user("fail at once")}
            if create == client.chat.completions.create
            else {"input": "fail at once"}
        )
        for stream in (False, True):
            with pytest.raises(openai.APIStatusError, match=r"No clock\.") as caught:
                create(model="m", stream=stream, **asked)
            assert (caught.value.status_code, caught.value.code) == (418, "AgentError")
            assert caught.value.request_id
    with pytest.raises(openai.APIError, match="The clock stopped"):
        list(client.chat.completions.create(model="m", messages=user("fail later"), stream=True))
    last = list(client.responses.create(model="m", input="fail later", stream=True))[-1]
    assert (last.type, last.response.error.message) == ("response.failed", "The clock stopped.")


def test_errors_are_those_that_the_client_knows(client: Any) -> None:
    with pytest.raises(openai.AuthenticationError, match="API key is wrong"):
        client.with_options(api_key="wrong").models.list()
    with pytest.raises(openai.UnprocessableEntityError, match="messages must be"):
        client.chat.completions.create(model="m", messages="text")
    with pytest.raises(openai.NotFoundError, match="not found"):
        client.responses.retrieve("resp_none")
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="m", input="x")


def test_a_caller_who_hangs_up_cancels_the_run(client: Any, clock: Clock) -> None:
    stream = client.chat.completions.create(model="m", messages=user("wait"), stream=True)
    next(iter(stream))
    stream.close()
    eventually(lambda: clock.closed == 1, "the generator is closed")


def test_limits_are_told_as_the_client_knows_them(clock: Clock) -> None:
    with (
        serving(clock, ["openai"], rate_limit="1/60") as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client,
    ):
        client.chat.completions.create(model="m", messages=user("time?"))
        with pytest.raises(openai.RateLimitError):
            client.chat.completions.create(model="m", messages=user("time?"))


async def values(request: dict[str, Any]) -> AsyncIterator[Any]:
    yield "a"
    yield {"b": 1}
    yield "c"


async def value(request: dict[str, Any]) -> dict[str, int]:
    return {"answer": 42}


@pytest.mark.parametrize(("agent", "text"), [(values, 'a{"b":1}c'), (value, '{"answer":42}')])
def test_values_that_are_no_events_are_shown_as_json(agent: Any, text: str) -> None:
    with (
        serving(agent, ["openai"]) as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0) as client,
    ):
        completion = client.chat.completions.create(model="m", messages=user("x"))
        with client.responses.stream(model="m", input="x") as stream:
            list(stream)
            streamed = stream.get_final_response()

    assert completion.choices[0].message.content == text
    assert streamed.output_text.replace(" ", "") == text


def test_a_drain_ends_a_stream_as_the_client_knows_it(clock: Clock) -> None:
    with serving(clock, ["openai"], shutdown_grace_seconds=0) as url:
        client = openai.OpenAI(base_url=f"{url}/v1", api_key="key", max_retries=0)
        stream = iter(client.chat.completions.create(model="m", messages=user("wait"), stream=True))
        next(stream)
        next(stream)
    with client, pytest.raises(openai.APIError, match="drain"):
        next(stream)


FAILING = """
from ppio_agent_runtime import AgentConfig, AgentError

app = PPIOAgentRuntimeApp(AgentConfig(protocols=["openai"]))

@app.entrypoint
async def charge(request: dict):
    prompt = request["prompt"]
    if prompt == "hello":
        return "hello"
    with open(folder / "charges", "a") as charges:
        charges.write("charged\\n")
    if prompt == "raise":
        raise ValueError
    if prompt == "later":
        raise AgentError("the model is busy", status_code=503, retry_after=0)
    os.kill(os.getpid(), getattr(signal, prompt))
    await asyncio.sleep(3600)
"""
"""An agent that fails, or ends its own process, after it has done something; two replicas, behind a balancer."""


def ask(client: Any, api: str, prompt: str, *, stream: bool, **options: Any) -> None:
    if api == "responses":
        answer = client.responses.create(model="m", input=prompt, stream=stream, **options)
    else:
        answer = client.chat.completions.create(model="m", messages=user(prompt), stream=stream, **options)
    if stream:
        list(answer)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("api", ["responses", "chat"])
@pytest.mark.parametrize(("prompt", "error"), [("raise", "failed"), ("later", "busy"), ("SIGTERM", "draining")])
@pytest.mark.slow
def test_the_client_repeats_by_itself_nothing_that_may_have_run(
    tmp_path: Path, api: str, stream: bool, prompt: str, error: str
) -> None:
    with (
        replicas(2, tmp_path, f"import os, signal{FAILING}", PPIO_AGENT_SHUTDOWN_GRACE_SECONDS="0.2") as made,
        balancing([replica.port for replica in made]) as balancer,
        openai.OpenAI(base_url=f"{balancer.url}/v1", api_key="key") as client,  # with its default of two retries
    ):
        ask(client, api, "hello", stream=stream)
        with pytest.raises(openai.APIStatusError, match=error) as caught:
            ask(client, api, prompt, stream=stream)
    assert caught.value.response.headers["x-should-retry"] == "false"
    assert (tmp_path / "charges").read_text() == "charged\n"


@needs_redis_server
@pytest.mark.slow
def test_with_a_key_and_a_shared_store_what_ran_in_a_killed_replica_does_not_run_again(tmp_path: Path) -> None:
    with (
        redis_server(tmp_path) as redis,
        replicas(2, tmp_path, f"import os, signal{FAILING}", PPIO_AGENT_EVENT_STORE=redis.uri) as made,
        balancing([replica.port for replica in made]) as balancer,
        openai.OpenAI(base_url=f"{balancer.url}/v1", api_key="key") as client,
        pytest.raises(openai.APIStatusError, match="ended while the invocation was running"),
    ):
        ask(client, "responses", "SIGKILL", stream=False, extra_headers={"Idempotency-Key": "k"})
    assert (tmp_path / "charges").read_text() == "charged\n"


@pytest.mark.slow
def test_with_a_key_and_a_file_what_ran_before_a_restart_does_not_run_again(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/events.db"
    with (
        replicas(1, tmp_path, f"import os, signal{FAILING}", restart=True, PPIO_AGENT_EVENT_STORE=store) as (agent,),
        openai.OpenAI(base_url=f"http://127.0.0.1:{agent.port}/v1", api_key="key", max_retries=50) as client,
        pytest.raises(openai.APIStatusError, match="ended while the invocation was running"),
    ):
        ask(client, "responses", "SIGKILL", stream=False, extra_headers={"Idempotency-Key": "k"})
    assert (tmp_path / "charges").read_text() == "charged\n"


def test_the_client_repeats_what_was_refused(clock: Clock) -> None:
    with (
        serving(clock, ["openai"], rate_limit="1/1") as url,
        openai.OpenAI(base_url=f"{url}/v1", api_key="key") as client,
    ):
        for _ in range(2):
            client.responses.create(model="m", input="time?")
