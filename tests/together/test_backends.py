"""The examples of services that call agents, in the frameworks that they are for: real servers, a real browser."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from ppio_agent_client import SyncLocalSandboxProvider
from tests.support.ports import free_port
from tests.support.processes import environment
from tests.support.redis_server import SERVER

EXAMPLES = Path(__file__).parents[2] / "examples"
FACTS = "My name is Ada" + "".join(f" and my {thing} is red" for thing in ("car", "hat", "cat", "pen", "cup", "bag"))
REPLY = "I will remember your name and your car and your hat and your cat and your pen and your cup and your bag."
START_SECONDS = 30


AGENT = """
from pathlib import Path

from ppio_agent_runtime import PPIOAgentRuntimeApp

app = PPIOAgentRuntimeApp()


@app.entrypoint
def work(request):
    with Path("LEDGER").open("a") as ledger:
        ledger.write("x")
    return request["prompt"].upper()
"""


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """Yield a home for local sandboxes; those that a service leaves are ended."""
    yield tmp_path
    provider = SyncLocalSandboxProvider(tmp_path)
    for sandbox in provider.list_sandboxes():
        provider.kill(sandbox.sandbox_id)


@contextmanager
def service(home: Path, *command: str) -> Iterator[str]:
    """Run a web service, `PORT` in its command being a free port; yield its URL when it listens."""
    port = free_port()
    arguments = [sys.executable, "-m", *(part.replace("PORT", str(port)) for part in command)]
    process = subprocess.Popen(arguments, cwd=EXAMPLES, env=environment(PPIO_AGENT_HOME=str(home), PYTHONWARNINGS=""))
    try:
        until(lambda: is_listening(port), process)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        assert process.wait(START_SECONDS) in (0, -signal.SIGTERM)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def until(condition: object, process: subprocess.Popen[bytes]) -> None:
    assert callable(condition)
    ends = time.monotonic() + START_SECONDS
    while not condition():
        assert process.poll() is None, "the process ended before it was ready"
        assert time.monotonic() < ends, "the process was not ready in time"
        time.sleep(0.05)


def words_of(body: str) -> str:
    lines = [line.removeprefix("data: ") for line in body.split("event: done", maxsplit=1)[0].splitlines()]
    return "".join(line.strip('"') for line in lines if line.startswith('"'))


@pytest.mark.slow
def test_a_page_that_is_reloaded_in_mid_stream_goes_on_where_it_was(home: Path) -> None:
    """`10_fastapi_service.py` with Chromium's own EventSource."""
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (dependency group test-backends)")
    chromium = shutil.which("chromium") or pytest.skip("needs the program chromium")
    with (
        service(home, "uvicorn", "10_fastapi_service:app", "--port", "PORT") as url,
        api.sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        page.goto(f"{url}/?prompt={FACTS}")
        page.wait_for_function("document.getElementById('said').textContent.includes('your car')", timeout=60_000)
        page.reload()
        page.wait_for_function("document.getElementById('said').dataset.state === 'done'", timeout=60_000)
        said = page.inner_text("#said")
        page.evaluate("sessionStorage.last = 'gone:3'")  # as a page that was left open for a day has it
        page.reload()
        page.wait_for_function("document.getElementById('said').textContent.includes('no invocation')", timeout=60_000)
        page.reload()
        page.wait_for_function("document.getElementById('said').dataset.state === 'done'", timeout=60_000)
        said_again = page.inner_text("#said")
        browser.close()
    assert said == said_again == REPLY


@pytest.mark.parametrize(
    ("command", "path"),
    [
        (("uvicorn", "11_django:application", "--port", "PORT"), "stream"),
        (("gunicorn", "11_django:wsgi", "--bind", "127.0.0.1:PORT", "--threads", "4"), "stream-sync"),
    ],
    ids=["asgi", "wsgi"],
)
@pytest.mark.slow
def test_django_passes_a_stream_on_and_waits_for_an_answer(home: Path, command: tuple[str, ...], path: str) -> None:
    """`11_django.py`."""
    pytest.importorskip("django", reason="needs Django (dependency group test-backends)")
    with service(home, *command) as url:
        with httpx.stream("GET", f"{url}/{path}", params={"prompt": FACTS}, timeout=60) as answer:
            assert answer.headers["content-type"] == "text/event-stream"
            parts = list(answer.iter_text())
        answered = httpx.get(f"{url}/ask", params={"prompt": "What is my name?"}, timeout=60).json()
    assert words_of("".join(parts)) == REPLY
    assert len(parts) > 5  # as it came
    assert answered == {"answer": "Your name is Ada."}


@pytest.mark.slow
def test_a_task_that_is_delivered_twice_runs_once(home: Path, tmp_path: Path) -> None:
    """`12_celery_worker.py` with a real worker and broker."""
    celery = pytest.importorskip("celery", reason="needs Celery (dependency group test-backends)")
    server = shutil.which(SERVER) or pytest.skip(f"needs the program {SERVER}")
    (tmp_path / "agent").mkdir()
    (tmp_path / "agent/main.py").write_text(AGENT.replace("LEDGER", str(tmp_path / "ledger")))
    program = (EXAMPLES / "12_celery_worker.py").read_text()
    line = 'TEMPLATE = str(Path(__file__).parent / "04_conversation")'
    assert line in program
    (tmp_path / "orders.py").write_text(program.replace(line, f"TEMPLATE = {str(tmp_path / 'agent')!r}"))
    port = free_port()
    broker = f"redis://127.0.0.1:{port}"
    redis = subprocess.Popen([server, "--port", str(port), "--save", "", "--dir", tmp_path], stdout=subprocess.DEVNULL)
    worker = None
    try:
        until(lambda: is_listening(port), redis)
        worker = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "celery",
                "--app",
                "orders",
                "worker",
                "--concurrency",
                "2",
                "--loglevel",
                "warning",
            ],
            cwd=tmp_path,
            env=environment(PPIO_AGENT_HOME=str(home), CELERY_BROKER=broker, PYTHONWARNINGS="", C_FORCE_ROOT="1"),
        )
        app = celery.Celery("caller", broker=broker, backend=broker)
        twice = [app.send_task("orders.ask", ["hello"], task_id="order-1") for _ in range(2)]
        assert [result.get(timeout=60) for result in twice] == ["HELLO", "HELLO"]
        assert app.send_task("orders.ask", ["bye"]).get(timeout=60) == "BYE"
        app.close()
    finally:
        for process in (worker, redis):
            if process is not None:
                process.terminate()
                process.wait(START_SECONDS)
    assert (tmp_path / "ledger").read_text() == "xx"


@pytest.mark.slow
def test_the_notebook_runs_from_its_first_cell_to_its_last(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`13_notebook.ipynb` in a real kernel."""
    nbclient = pytest.importorskip("nbclient", reason="needs nbclient (dependency group test-backends)")
    nbformat = pytest.importorskip("nbformat", reason="needs nbclient (dependency group test-backends)")
    for name in [name for name in os.environ if name.startswith("PPIO_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PPIO_AGENT_HOME", str(home))
    monkeypatch.setenv("PYTHONWARNINGS", "")
    notebook = nbformat.read(EXAMPLES / "13_notebook.ipynb", as_version=4)
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(EXAMPLES)}}).execute()
    first, second = (cell.outputs for cell in notebook.cells if cell.cell_type == "code" and cell.outputs)
    assert first[0].data["text/plain"] == "'I will remember your name and your favourite city.'"
    assert "".join(output.text for output in second) == "Your favourite city is Lisbon."
    assert SyncLocalSandboxProvider(home).list_sandboxes() == []
