"""The FastAPI app inside: there when somebody uses it, described in its document, and not imported otherwise."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI
from pydantic import BaseModel, Field
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route

from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.processes import run_to_the_end
from tests.support.raw_http import get, invoke

pytestmark = pytest.mark.contract


class Item(BaseModel):
    name: str


class Order(BaseModel):
    amount: int = Field(gt=0, description="How many")
    item: Item


def make_app(*, debug: bool = False) -> PPIOAgentRuntimeApp:
    app = PPIOAgentRuntimeApp(debug=debug)

    @app.entrypoint
    def handler(payload: Order) -> int:
        return payload.amount

    return app


@pytest.fixture(scope="module")
def plain() -> Iterator[str]:
    with running(make_app()) as url:
        yield url


@pytest.fixture(scope="module")
def debugging() -> Iterator[str]:
    with running(make_app(debug=True)) as url:
        yield url


@pytest.fixture(scope="module")
def document(debugging: str) -> dict[str, Any]:
    answer = get(debugging, "/openapi.json")
    assert answer.status == 200
    found: dict[str, Any] = answer.json
    return found


def test_own_route_is_served_with_its_dependencies() -> None:
    app = make_app()

    def number() -> int:
        return 7

    @app.fastapi.get("/own/{name}")
    def own(name: str, lucky: int = Depends(number)) -> dict[str, Any]:
        return {"name": name, "lucky": lucky}

    with running(app) as url:
        assert get(url, "/own/me").json == {"name": "me", "lucky": 7}


def test_own_route_reads_its_body() -> None:
    app = make_app()

    @app.fastapi.post("/orders")
    def order(body: Order) -> int:
        return body.amount

    with running(app) as url:
        headers = {"Content-Type": "application/json"}
        assert call(url, "/orders", body=b'{"amount": 3, "item": {"name": "x"}}', headers=headers).json == 3
        sentence = refusal(call(url, "/orders", body=b'{"amount": 0}', headers=headers), 422, "PayloadValidationError")
    assert "body.amount" in sentence
    assert "body.item" in sentence


def test_router_is_served() -> None:
    app = make_app()
    router = APIRouter(prefix="/v1")

    @router.get("/things")
    def things() -> list[str]:
        return ["a"]

    app.fastapi.include_router(router)
    with running(app) as url:
        assert get(url, "/v1/things").json == ["a"]


def test_mounted_app_is_served() -> None:
    app = make_app()
    inner = FastAPI()

    @inner.get("/deep")
    def deep() -> str:
        return "down here"

    app.fastapi.mount("/sub", inner)
    with running(app) as url:
        assert get(url, "/sub/deep").json == "down here"


def test_own_root_replaces_the_service_information() -> None:
    app = make_app()

    @app.fastapi.get("/")
    def root() -> str:
        return "mine"

    with running(app) as url:
        assert get(url, "/").json == "mine"


def test_own_root_of_a_router_replaces_the_service_information() -> None:
    app = make_app()
    router = APIRouter()

    @router.get("/")
    def root() -> str:
        return "mine"

    app.fastapi.include_router(router)
    with running(app) as url:
        assert get(url, "/").json == "mine"
        assert call(url, "/", method="DELETE").headers["allow"] == "GET"


def test_service_information_stays_beside_other_routes() -> None:
    app = make_app()

    @app.fastapi.get("/other")
    def other() -> None: ...

    with running(app) as url:
        assert get(url, "/").json["service"] == "ppio-agent-runtime"


def test_app_mounted_at_the_root_replaces_the_service_information() -> None:
    app = make_app()

    async def page(request: Any) -> PlainTextResponse:
        return PlainTextResponse("the page")

    app.fastapi.mount("/", Starlette(routes=[Route("/", page)]))
    with running(app) as url:
        assert get(url, "/").body == b"the page"


def test_agent_routes_stay_ours_beside_fastapi() -> None:
    app = make_app()

    @app.fastapi.get("/ping")
    def ping() -> str:
        return "not me"

    with running(app) as url:
        assert get(url, "/ping").json["status"] == "Healthy"
        assert invoke(url, {"amount": 2, "item": {"name": "x"}}).result == 2


def test_routes_see_no_context_of_an_invocation() -> None:
    app = make_app()

    @app.fastapi.get("/context")
    def context() -> bool:
        return app.context is None

    with running(app) as url:
        assert get(url, "/context").json is True


def test_app_is_an_asgi_app_that_can_be_mounted() -> None:
    agent = make_app()
    outer = Starlette(routes=[Mount("/agents/one", agent)])
    host = make_app()
    host.fastapi.mount("/outer", outer)

    with running(host) as url:
        assert get(url, "/outer/agents/one/ping").json["status"] == "Healthy"
        answer = call(url, "/outer/agents/one/invocations", body=b'{"amount": 4, "item": {"name": "x"}}')
        assert answer.result == 4


def test_lifespan_of_the_fastapi_router_runs() -> None:
    events: list[str] = []

    @asynccontextmanager
    async def lifespan(_app: Any) -> AsyncIterator[None]:
        events.append("in")
        yield
        events.append("out")

    app = make_app()
    app.fastapi.router.lifespan_context = lifespan
    with running(app) as url:
        get(url, "/ping")
        assert events == ["in"]

    assert events == ["in", "out"]


def test_fastapi_is_the_same_app_each_time() -> None:
    app = make_app()

    assert app.fastapi is app.fastapi


def test_service_information_says_what_runs_here(plain: str) -> None:
    information = get(plain, "/").json

    assert information["service"] == "ppio-agent-runtime"
    assert information["protocol"] == "1"
    assert information["agent"].endswith("handler")
    assert information["version"]


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/redoc"])
def test_documents_are_off_without_debug(plain: str, path: str) -> None:
    refusal(get(plain, path), 404, "NotFoundError")


def test_documents_are_off_without_debug_beside_own_routes() -> None:
    app = make_app()
    assert app.fastapi.routes is not None

    with running(app) as url:
        assert [get(url, path).status for path in ("/docs", "/openapi.json")] == [404, 404]


def test_docs_page_is_served_with_debug(debugging: str) -> None:
    answer = get(debugging, "/docs")

    assert answer.status == 200
    assert answer.headers["content-type"].startswith("text/html")


def test_document_describes_the_payload(document: dict[str, Any]) -> None:
    schema = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["schema"]

    assert schema["properties"]["amount"] == {
        "description": "How many",
        "exclusiveMinimum": 0,
        "title": "Amount",
        "type": "integer",
    }
    assert schema["properties"]["item"] == {"$ref": "#/components/schemas/Item"}
    assert schema["required"] == ["amount", "item"]


def test_document_describes_every_status_and_header_of_invocations(document: dict[str, Any]) -> None:
    post = document["paths"]["/invocations"]["post"]

    assert set(post["responses"]) >= {"200", "400", "406", "408", "413", "415", "422", "500", "503", "504"}
    assert set(post["responses"]["200"]["content"]) == {"application/json", "text/event-stream"}
    assert {header["name"] for header in post["parameters"]} >= {"X-PPIO-Session-Id", "X-PPIO-Timeout"}


def test_document_describes_ping(document: dict[str, Any]) -> None:
    assert set(document["paths"]["/ping"]["get"]["responses"]) == {"200", "503"}


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_reference_in_the_document_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert {reference.removeprefix("#/components/schemas/") for reference in references(document)} <= schemas.keys()


def test_document_has_own_routes_too() -> None:
    app = make_app(debug=True)

    @app.fastapi.get("/own")
    def own() -> int:
        return 1

    with running(app) as url:
        assert {"/own", "/invocations", "/ping"} <= get(url, "/openapi.json").json["paths"].keys()


@pytest.mark.parametrize("annotation", [None, Any, str, list[int], dict[str, Any]])
def test_document_can_be_made_for_every_payload_type(annotation: Any) -> None:
    app = PPIOAgentRuntimeApp(debug=True)

    def handler(payload: Any) -> None: ...

    handler.__annotations__ = {} if annotation is None else {"payload": annotation}
    app.entrypoint(handler)

    assert "/invocations" in app.fastapi.openapi()["paths"]


SERVE_AND_TELL = """
import sys

sys.modules["watchfiles"] = None  # uvicorn imports it, and anyio with it, wherever it finds it; no agent needs it

from http.client import HTTPConnection
from ppio_agent_runtime import PPIOAgentRuntimeApp, RequestContext
from ppio_agent_runtime.testing import running

app = PPIOAgentRuntimeApp()

@app.entrypoint
def handler(payload: dict, context: RequestContext):
    return payload

def ask(method, path, body=None):
    connection = HTTPConnection(url.removeprefix("http://"))
    connection.request(method, path, body)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status

with running(app) as url:
    print([ask("POST", "/invocations", "{}"), ask("GET", "/ping"), ask("GET", "/"), ask("GET", "/nowhere")])
names = ("fastapi", "prometheus_client", "pydantic", "starlette", "httpx", "h11")
print([name for name in names if name in sys.modules])
"""


def test_plain_agent_serves_every_route_without_fastapi_pydantic_or_starlette() -> None:
    finished = run_to_the_end("-c", SERVE_AND_TELL)

    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.splitlines() == ["[200, 200, 200, 404]", "[]"]


def test_methods_of_fastapi_are_those_of_the_app_too() -> None:
    app, router = make_app(), APIRouter()

    @app.get("/things/{name}")  # type: ignore[untyped-decorator]  # FastAPI's own, and not imported before
    @router.get("/routed")
    def read(name: str = "none") -> dict[str, str]:
        return {"name": name}

    @app.post("/things")  # type: ignore[untyped-decorator]
    @app.put("/things")  # type: ignore[untyped-decorator]
    @app.delete("/things")  # type: ignore[untyped-decorator]
    def change() -> str:
        return "changed"

    app.include_router(router)
    app.mount("/inside", Starlette(routes=[Route("/page", lambda _: PlainTextResponse("a page"))]))
    with running(app) as url:
        assert get(url, "/things/a").json == {"name": "a"}
        assert get(url, "/routed").json == {"name": "none"}
        assert [call(url, "/things", method=method).json for method in ("POST", "PUT", "DELETE")] == ["changed"] * 3
        assert get(url, "/inside/page").body == b"a page"
