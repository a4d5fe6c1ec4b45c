"""The public names are lazy and complete, and the same in each of the places where they have to be said."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pytest

import ppio_agent_runtime
from tests.support.processes import run_to_the_end
from tests.support.public_names import names_at_run_time, names_for_type_checkers

PUBLIC = {
    "AgentConfig",
    "AgentError",
    "AgentRuntimeApp",
    "ConfigurationError",
    "EncodedEvent",
    "EventEncoder",
    "InvocationHandle",
    "InvocationStream",
    "MetricsCollector",
    "PPIOAgentRuntimeApp",
    "PPIOAgentRuntimeError",
    "PPIOAgentRuntimeServer",
    "PingResponse",
    "PingStatus",
    "RateLimit",
    "RateLimiter",
    "RequestContext",
    "SerializationError",
    "configure_logging",
}


def loaded_after(program: str, *names: str) -> list[str]:
    finished = run_to_the_end("-c", f"import sys\n{program}\nprint([n for n in {names!r} if n in sys.modules])")
    assert finished.returncode == 0, finished.stderr
    loaded: list[str] = ast.literal_eval(finished.stdout)
    return loaded


@pytest.mark.contract
def test_public_names_are_these() -> None:
    assert names_at_run_time(ppio_agent_runtime).keys() == PUBLIC


def test_type_checkers_see_the_names_that_exist_at_run_time() -> None:
    assert names_for_type_checkers(ppio_agent_runtime) == names_at_run_time(ppio_agent_runtime)


@pytest.mark.contract
def test_all_and_dir_list_every_name() -> None:
    assert sorted(vars(ppio_agent_runtime)["__all__"]) == sorted(PUBLIC)
    assert set(dir(ppio_agent_runtime)) >= PUBLIC


@pytest.mark.parametrize(("name", "module"), names_at_run_time(ppio_agent_runtime).items())
def test_a_name_leads_to_its_module(name: str, module: str) -> None:
    assert getattr(ppio_agent_runtime, name) is getattr(import_module(module, "ppio_agent_runtime"), name)


@pytest.mark.contract
def test_short_name_of_the_app_is_the_app() -> None:
    assert ppio_agent_runtime.AgentRuntimeApp is ppio_agent_runtime.PPIOAgentRuntimeApp


@pytest.mark.contract
def test_a_name_that_does_not_exist_is_refused_with_the_name() -> None:
    with pytest.raises(AttributeError, match="AgentRuntimApp"):
        ppio_agent_runtime.AgentRuntimApp  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.contract
def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "before = set(sys.modules)\nimport ppio_agent_runtime\nfor name in before: del sys.modules[name]"
    heavy = ("typing", "re", "enum", "functools", "collections")  # what all the heavy ones begin with

    assert loaded_after(program, *heavy) == []


def test_making_an_agent_imports_nothing_that_only_serving_needs() -> None:
    program = """
from ppio_agent_runtime import AgentConfig, AgentError, PPIOAgentRuntimeApp, RequestContext
app = PPIOAgentRuntimeApp(AgentConfig(port=1))
@app.entrypoint
def handler(payload: dict, context: RequestContext): ...

@app.on_lifespan
async def lifespan(app): yield
"""

    served = ("asyncio", "pydantic_core", "ppio_agent_runtime.services", "ppio_agent_runtime.server")
    spare = ("fastapi", "httpx", "prometheus_client", "pydantic", "starlette", "uvicorn")
    assert loaded_after(program, *served, *spare) == []


SERVED = """
import contextlib, encodings.idna, socket, threading
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running

ready = threading.Event()

@contextlib.asynccontextmanager
async def lifespan(app):
    ready.set()
    yield

app = PPIOAgentRuntimeApp(lifespan=lifespan)

@app.entrypoint
async def handler(payload): ...

def ask(url, request):
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(request.encode().replace(b"|", b"\\r\\n"))
        assert b" 200 " in connection.recv(65536)

with running(app) as url:
    ready.wait()
    before = set(sys.modules)
    ask(url, "GET /ping HTTP/1.1|Host: a||")
    ask(url, "POST /invocations HTTP/1.1|Host: a|Content-Type: application/json|Content-Length: 2||{}")
    ask(url, "POST /invocations HTTP/1.1|Host: a|Accept: text/event-stream|Content-Length: 2||{}")
    assert set(sys.modules) == before, set(sys.modules) - before
"""


def test_serving_an_agent_loads_nothing_that_it_does_not_need_and_no_request_loads_more() -> None:
    spare = (
        *("difflib", "fastapi", "multiprocessing.popen_fork", "prometheus_client", "pydantic", "sqlite3"),
        *("starlette", "sysconfig", "uvicorn.protocols.http.h11_impl", "websockets"),
    )

    assert loaded_after(SERVED, *spare) == []


def test_errors_cost_no_pydantic_core() -> None:
    assert loaded_after("from ppio_agent_runtime import AgentError", "pydantic_core", "asyncio") == []


def test_the_version_is_the_version_of_the_wheel() -> None:
    assert ppio_agent_runtime.__version__ == version("ppio-agent-runtime")


def test_the_wheel_says_that_it_is_typed() -> None:
    assert Path(ppio_agent_runtime.__file__).with_name("py.typed").is_file()
