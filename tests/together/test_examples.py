"""Every example runs as it is printed: as a process of its own, on a real socket, with nothing left behind."""

import json
import re
import shlex
import subprocess
from pathlib import Path

import httpx
import pytest

from ppio_agent_client import (
    AgentError,
    AgentRuntimeClient,
    PayloadValidationError,
    PingStatus,
    SyncLocalSandboxProvider,
)
from tests.support.processes import run_to_the_end, serving

pytestmark = pytest.mark.contract

EXAMPLES = Path(__file__).parents[2] / "examples"
NUMBERED = sorted(path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("[0-9]*.py")) + sorted(
    path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.glob("[0-9]*/main.py")
)


def text_of(name: str) -> str:
    return (EXAMPLES / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", NUMBERED)
def test_a_numbered_example_fits_on_a_screen(name: str) -> None:
    assert len(text_of(name).splitlines()) <= 60


def test_every_example_has_a_test() -> None:
    tests = Path(__file__).read_text(encoding="utf-8")
    services = (Path(__file__).parent / "test_backends.py").read_text(encoding="utf-8")

    assert NUMBERED
    assert [name for name in NUMBERED if f'"{name}"' not in tests and f"`{name}`" not in services] == []


@pytest.mark.parametrize("name", [name for name in NUMBERED if re.search("^ *curl ", text_of(name), re.MULTILINE)])
def test_what_an_example_says_to_type_is_answered(name: str) -> None:
    with serving(EXAMPLES / name) as url:
        for line in re.findall(r"^ *(curl .*)", text_of(name), re.MULTILINE):
            command = shlex.split(line.replace("localhost:8080", url))
            answer = subprocess.run(
                [*command, "--silent"], capture_output=True, text=True, check=True, timeout=60
            ).stdout
            wanted = "PayloadValidationError" if '"quantity": 0' in line else ""
            refused = re.search(r'"error_type": *"(\w+)"', answer)
            assert answer
            assert (refused[1] if refused else "") == wanted, answer


async def test_01_plain_greets() -> None:
    with serving(EXAMPLES / "01_plain/main.py") as url:
        async with AgentRuntimeClient() as client:
            answer = await client.attach(url).invoke("Ada")

    assert answer.result == {"greeting": "Hello, Ada!"}


async def test_02_streaming_counts_words_one_by_one() -> None:
    with serving(EXAMPLES / "02_streaming/main.py") as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url)
            async with session.stream({"text": "to be or not to be"}) as stream:
                chunks = [chunk async for chunk in stream]
            collected = await session.invoke({"text": "to be or not to be"})

    assert [chunk["word"] for chunk in chunks] == ["to", "be", "or", "not", "to", "be"]
    assert chunks[-1] == {"word": "be", "count": 2}
    assert collected.result == chunks


async def test_03_typed_payload_names_the_field_that_is_wrong() -> None:
    with serving(EXAMPLES / "03_typed_payload/main.py") as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url)
            answer = await session.invoke({"lines": [{"item": "tea", "quantity": 2, "price": "3.50"}]})
            with pytest.raises(PayloadValidationError) as refused:
                await session.invoke({"lines": [{"item": "tea", "quantity": 0, "price": 1}]})
            with pytest.raises(AgentError) as too_much:
                await session.invoke({"lines": [{"item": "car", "quantity": 1, "price": 20_000}]})

    assert answer.result == {"items": 2, "total": "7.00"}
    assert "lines.0.quantity" in str(refused.value)
    assert (too_much.value.status_code, too_much.value.error_type) == (409, "OverBudget")
    assert str(too_much.value) == "20000 is more than the budget of 1000"


async def test_04_conversation_remembers() -> None:
    with serving(EXAMPLES / "04_conversation/main.py") as url:
        async with AgentRuntimeClient() as client:
            session = client.attach(url)
            stream = session.stream("My name is Ada and my favourite city is Lisbon.")
            words = [word async for word in stream]
            answers = [(await session.invoke(prompt)).result for prompt in ("What is my favourite city?", "And now?")]

    assert words == ["I ", "will ", "remember ", "your ", "name ", "and ", "your ", "favourite ", "city."]
    assert answers == [
        "Your favourite city is Lisbon.",
        "I know that your name is Ada and that your favourite city is Lisbon.",
    ]


async def test_05_middleware_is_around_every_route() -> None:
    with serving(EXAMPLES / "05_middleware/main.py") as url:
        async with httpx.AsyncClient(base_url=url) as http:
            refused = await http.post("/invocations", json={"prompt": "hello"})
            answered = await http.post("/invocations", json={"prompt": "hello"}, headers={"X-Tenant": "acme"})
            ping = await http.get("/ping")

    assert refused.status_code == 403
    assert answered.json()["result"] == "acme: HELLO"
    assert float(answered.headers["x-seconds"]) >= 0
    assert "x-seconds" in ping.headers
    assert (ping.json()["status"], ping.json()["answered"]) == (PingStatus.HEALTHY, 1)


def test_09_long_job_goes_on_without_its_caller() -> None:
    with serving(EXAMPLES / "09_long_job/main.py") as url:
        finished = run_to_the_end(EXAMPLES / "09_long_job/caller.py", url)

    assert finished.returncode == 0, finished.stderr
    *said, state = finished.stdout.splitlines()
    pages = ["TO BE", "OR NOT TO BE", "THAT IS THE QUESTION"]
    assert said == [line for number, page in enumerate(pages, 1) for line in (f"page {number} of 3", page)]
    assert state == "succeeded"


@pytest.mark.parametrize(
    ("name", "printed"),
    [
        (
            "06_backend_async.py",
            [
                "I will remember your name and your favourite city.",
                "Your favourite city is Lisbon.",
                "HandlerError, HTTP 500: The agent failed.",
            ],
        ),
        ("07_backend_sync.py", ["I will remember your name and your favourite city.", "Your name is Ada."]),
    ],
)
@pytest.mark.slow
def test_a_backend_talks_to_its_sandbox_and_closes_it(name: str, printed: list[str], tmp_path: Path) -> None:
    finished = run_to_the_end(EXAMPLES / name, variables={"PPIO_AGENT_HOME": str(tmp_path)})

    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert len(lines) == len(printed)
    assert all(line.startswith(start) for line, start in zip(lines, printed, strict=True))
    assert SyncLocalSandboxProvider(tmp_path).list_sandboxes() == []


@pytest.mark.slow
async def test_08_plugin_serves_a_second_protocol_on_the_same_handler() -> None:
    call = {"jsonrpc": "2.0", "id": 7, "method": "invoke", "params": {"text": "to be"}}
    with serving(EXAMPLES / "08_plugin/main.py") as url:
        async with httpx.AsyncClient(base_url=url) as http, AgentRuntimeClient() as client:
            value = await http.post("/rpc", json=call)
            async with http.stream("POST", "/rpc", json=call | {"method": "stream"}) as streamed:
                lines = [json.loads(line) async for line in streamed.aiter_lines()]
            refused = await http.post("/rpc", json=call | {"method": "fly"})
            invoked = await client.attach(url).invoke({"text": "to be"})

    assert value.json() == {"jsonrpc": "2.0", "id": 7, "result": "TOBE"}
    assert lines == [{"jsonrpc": "2.0", "id": 7, "result": word} for word in ("TO", "BE")]
    assert refused.json()["error"] == {"code": -32601, "message": "Method not found"}
    assert invoked.result == "TOBE"


@pytest.mark.slow
def test_the_demo_shows_a_whole_life_and_leaves_nothing_behind(tmp_path: Path) -> None:
    finished = run_to_the_end(EXAMPLES / "demo.py", variables={"TMPDIR": str(tmp_path), "HOME": str(tmp_path)})

    assert finished.returncode == 0, finished.stderr
    assert "Your favourite city is Lisbon." in finished.stdout
    assert (
        "your name is Ada and that your favourite city is Lisbon and that your favourite drink is tea"
        in finished.stdout
    )
    assert "sessions left: 0" in finished.stdout
    assert finished.stderr == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_demo_says_why_it_failed(tmp_path: Path) -> None:
    variables = {"TMPDIR": str(tmp_path), "PPIO_AGENT_PYTHON": str(tmp_path / "no-python")}
    finished = run_to_the_end(EXAMPLES / "demo.py", variables=variables)

    assert finished.returncode == 1
    assert "the demo failed: " in finished.stderr
    assert "Traceback" not in finished.stderr
