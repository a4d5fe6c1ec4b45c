"""Plugins: added by hand, found by name, and the one in examples/ on a real socket."""

import http.client
import json
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from ppio_agent_runtime import AgentConfig, ConfigurationError, PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running

pytestmark = pytest.mark.contract

EXAMPLE = Path(__file__).parents[2] / "examples/08_plugin"


@contextmanager
def connected(app: PPIOAgentRuntimeApp) -> Iterator[http.client.HTTPConnection]:
    with running(app) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        try:
            yield connection
        finally:
            connection.close()


def ask(connection: http.client.HTTPConnection, path: str, body: Any = None, **headers: str) -> tuple[int, bytes]:
    connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), headers)
    answer = connection.getresponse()
    return answer.status, answer.read()


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Iterator[PPIOAgentRuntimeApp]:
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield import_module("main").app
    for name in ("json_rpc", "main"):
        sys.modules.pop(name, None)


def rpc(method: str, params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params}


def test_the_example_answers_a_value(example: PPIOAgentRuntimeApp) -> None:
    with connected(example) as connection:
        status, body = ask(connection, "/rpc", rpc("invoke", {"text": "to be"}))

    assert (status, json.loads(body)) == (200, {"jsonrpc": "2.0", "id": 7, "result": "TOBE"})


def test_the_example_answers_a_stream(example: PPIOAgentRuntimeApp) -> None:
    with connected(example) as connection:
        _, body = ask(connection, "/rpc", rpc("stream", {"text": "to be"}))

    assert [json.loads(line)["result"] for line in body.splitlines()] == ["TO", "BE"]


@pytest.mark.parametrize(
    ("call", "code"),
    [
        (rpc("invoke", [1]), -32000),
        (rpc("invoke", {"text": 5}), -32000),
        (rpc("stream", {"text": 5}), -32000),
        (rpc("fly", {}), -32601),
        ([], -32600),
    ],
)
def test_the_example_answers_errors_in_its_own_words(example: PPIOAgentRuntimeApp, call: Any, code: int) -> None:
    with connected(example) as connection:
        status, body = ask(connection, "/rpc", call)

    assert (status, json.loads(body)["error"]["code"]) == (200, code)


def test_the_example_keeps_the_first_protocol(example: PPIOAgentRuntimeApp) -> None:
    with connected(example) as connection:
        status, body = ask(connection, "/invocations", {"text": "to be"}, Accept="application/json")

    assert (status, json.loads(body)["result"]) == (200, "TOBE")


class Everything:
    """A plugin that adds one of each: a route, a middleware, a lifespan."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def install(self, app: PPIOAgentRuntimeApp) -> None:
        @app.on_lifespan
        async def life(_app: PPIOAgentRuntimeApp) -> AsyncIterator[dict[str, str]]:
            self.seen.append("begin")
            yield {"colour": "green"}
            self.seen.append("end")

        @app.middleware
        async def mark(request: Request, call_next: Any) -> Any:
            response = await call_next(request)
            response.headers["x-plugin"] = "yes"
            return response

        @app.fastapi.get("/colour")
        async def colour(request: Request) -> PlainTextResponse:
            return PlainTextResponse(request.state.colour)


async def nothing(request: dict[str, Any]) -> None:
    return None


def test_a_plugin_adds_routes_middleware_and_lifespans() -> None:
    app = PPIOAgentRuntimeApp()
    app.entrypoint(nothing)
    plugin = Everything()
    app.install(plugin)

    with connected(app) as connection:
        answer = ask(connection, "/colour")
        connection.request("POST", "/invocations", "{}")
        marked = connection.getresponse()

        assert answer == (200, b"green")
        assert marked.headers["x-plugin"] == "yes"
        assert plugin.seen == ["begin"]
    assert plugin.seen == ["begin", "end"]


def test_lifespans_are_left_in_reverse_order() -> None:
    order: list[str] = []

    def named(name: str) -> Any:
        @asynccontextmanager
        async def lifespan(_app: PPIOAgentRuntimeApp) -> AsyncIterator[None]:
            order.append(f"+{name}")
            yield
            order.append(f"-{name}")

        return lifespan

    app = PPIOAgentRuntimeApp(lifespan=named("first"))
    app.entrypoint(nothing)
    app.on_lifespan(named("second"))
    with running(app) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc)
        connection.request("GET", "/ping")
        connection.getresponse().read()
        connection.close()

    assert order == ["+first", "+second", "-second", "-first"]


def install_distribution(folder: Path, entry_points: str, module: str) -> None:
    (folder / "sample_plugin.py").write_text(module, encoding="utf-8")
    metadata = folder / "sample_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: sample-plugin\nVersion: 1.0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[ppio_agent_runtime.plugins]\n{entry_points}\n", encoding="utf-8")


MODULE = """
installed = []

class Sample:
    def install(self, app):
        installed.append(app)

sample = Sample()

def install(app):
    installed.append(app)

class Broken:
    def __init__(self):
        raise RuntimeError("no licence")
"""


@pytest.fixture
def distribution(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    named = {"klass": ":Sample", "obj": ":sample", "mod": "", "bad": ":Broken"}
    entries = "\n".join(f"{name} = sample_plugin{attribute}" for name, attribute in named.items())
    install_distribution(tmp_path, entries, MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield
    sys.modules.pop("sample_plugin", None)


@pytest.mark.usefixtures("distribution")
def test_named_plugins_are_installed_as_class_object_or_module() -> None:
    app = PPIOAgentRuntimeApp(AgentConfig(plugins=["klass", "obj", "mod"]))

    assert sys.modules["sample_plugin"].installed == [app, app, app]


@pytest.mark.usefixtures("distribution")
def test_plugins_can_be_named_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PPIO_AGENT_PLUGINS", "obj")

    app = PPIOAgentRuntimeApp()

    assert sys.modules["sample_plugin"].installed == [app]


@pytest.mark.usefixtures("distribution")
def test_a_plugin_that_nobody_named_is_not_imported() -> None:
    PPIOAgentRuntimeApp()

    assert "sample_plugin" not in sys.modules


@pytest.mark.usefixtures("distribution")
def test_an_unknown_name_fails_at_start_and_lists_what_is_installed() -> None:
    with pytest.raises(ConfigurationError, match=r"The plugin 'nope' is not installed .*installed: .*klass, mod, obj"):
        PPIOAgentRuntimeApp(AgentConfig(plugins=["nope"]))


@pytest.mark.usefixtures("distribution")
def test_a_plugin_that_cannot_be_made_is_named_with_the_reason() -> None:
    with pytest.raises(ConfigurationError, match=r"'bad' \(sample_plugin:Broken\).*RuntimeError: no licence"):
        PPIOAgentRuntimeApp(AgentConfig(plugins=["bad"]))


@pytest.mark.parametrize("plugin", [object(), Everything, None])
def test_what_is_no_plugin_is_refused(plugin: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"install\(app\)"):
        PPIOAgentRuntimeApp().install(plugin)
