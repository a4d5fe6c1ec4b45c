"""The page's files: who gets them, without a key, with which headers, and that nobody gets them without `debug`."""

from __future__ import annotations

import ast
import base64
import gzip
import hashlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount

from ppio_agent_runtime.testing import running
from tests.support.calls import call, refusal
from tests.support.middleware import make_app, serving
from tests.support.processes import run_to_the_end
from tests.support.raw_http import Answer

pytestmark = pytest.mark.contract

BROWSER = {"Accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}
FILE = "/console/static/main.js"
KEY = "key-of-16-letters"
STATIC = Path(str(files("ppio_agent_runtime"))) / "console" / "static"
MAX_BYTES = 150 * 1024
HOSTILE = [
    "/console/static/../page.py",
    "/console/static/..%2fpage.py",
    "/console/static/%2e%2e/%2e%2e/app.py",
    "/console/static//etc/passwd",
    "/console/static/vendor/../main.js",
    "/console/static/..\\page.py",
    "/console/static/main.js%00",
    "/console/static/.gitignore",
    "/console/static/",
    "/console/static/vendor",
    "/console/static",
    "/console/page.py",
    "/consolex",
]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with serving(debug=True) as url:
        yield url


def get(url: str, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Answer:
    return call(url, path, method=method, headers=headers)


def is_page(answer: Answer) -> bool:
    return answer.status == 200 and answer.headers["content-type"].startswith("text/html")


def test_browser_gets_the_page_and_others_the_description(url: str) -> None:
    for accept in BROWSER["Accept"], "text/html", "application/json;q=0.1, TEXT/HTML; q=0.9":
        assert is_page(get(url, "/", {"Accept": accept})), accept
    for headers in {}, {"Accept": "*/*"}, {"Accept": "application/json"}, {"Accept": "text/html;q=0"}:
        assert get(url, "/", headers).json["service"] == "ppio-agent-runtime"


def test_caches_are_told_that_the_root_depends_on_what_is_accepted(url: str) -> None:
    assert "accept" in get(url, "/", BROWSER).headers["vary"].split(", ")
    assert get(url, "/").headers["vary"] == "accept"


def test_page_has_an_address_of_its_own(url: str) -> None:
    assert is_page(get(url, "/console"))
    moved = get(url, "/console/")
    assert (moved.status, moved.headers["location"]) == (308, "../console")


@pytest.mark.parametrize("path", ["/console", FILE, "/console/settings", "/console/runs", "/console/log"])
def test_without_debug_nothing_of_it_is_there(path: str) -> None:
    with serving() as url:
        refusal(get(url, path, BROWSER), 404, "NotFoundError")
        root = get(url, "/", BROWSER)
        assert root.json["service"] == "ppio-agent-runtime"
        assert "vary" not in root.headers


def test_without_debug_nothing_of_it_is_imported() -> None:
    program = """
import sys
from http.client import HTTPConnection
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
app = PPIOAgentRuntimeApp()
@app.entrypoint
def handler(payload: dict):
    return payload
with running(app) as url:
    connection = HTTPConnection(url.removeprefix("http://"))
    connection.request("GET", "/console")
    print(connection.getresponse().status)
    connection.close()
print([name for name in sys.modules if name.startswith("ppio_agent_runtime.console") or name == "gzip"])
"""
    finished = run_to_the_end("-c", program)

    assert finished.stdout.splitlines() == ["404", "[]"], finished.stderr


@pytest.mark.parametrize("path", ["/", "/console", FILE, "/console/static/vendor/uplot-1.6.32/uPlot.min.css"])
def test_every_file_carries_the_policy(url: str, path: str) -> None:
    headers = get(url, path, BROWSER).headers

    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert policy["script-src"].split()[0] == "'self'"
    assert "unsafe" not in headers["content-security-policy"]
    assert policy["connect-src"] == policy["style-src"] == "'self'"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert policy["require-trusted-types-for"] == "'script'"
    assert policy["trusted-types"] == "dompurify"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cache-control"] == "no-cache"


def test_policy_lets_in_the_import_map_and_nothing_else_that_stands_in_the_page(url: str) -> None:
    answer = get(url, "/", BROWSER)

    inline = re.findall(rb"<script(?![^>]* src=)[^>]*>(.*?)</script>", answer.body, re.DOTALL)
    digests = [base64.b64encode(hashlib.sha256(text).digest()).decode() for text in inline]
    allowed = re.findall(r"'sha256-([^']+)'", answer.headers["content-security-policy"])
    assert allowed == digests
    assert len(inline) == 1
    assert b"style=" not in answer.body


def test_import_map_names_files_that_are_there(url: str) -> None:
    page = get(url, "/", BROWSER).body
    mapped = json.loads(re.findall(rb'<script type="importmap">(.*?)</script>', page, re.DOTALL)[0])["imports"]
    linked = [path.decode() for path in re.findall(rb' (?:src|href)="(\./[^"]+)"', page)]

    for path in [*mapped.values(), *linked]:
        assert get(url, path.removeprefix(".")).status == 200, path


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        (FILE, "text/javascript; charset=utf-8"),
        ("/console/static/vendor/preact-11.2.0/preact.mjs", "text/javascript; charset=utf-8"),
        ("/console/static/vendor/preact-11.2.0/LICENSE", "text/plain; charset=utf-8"),
        ("/console/static/vendor/uplot-1.6.32/uPlot.min.css", "text/css; charset=utf-8"),
        ("/console/static/index.html", "text/html; charset=utf-8"),
    ],
)
def test_file_has_its_media_type(url: str, path: str, media_type: str) -> None:
    assert get(url, path).headers["content-type"] == media_type


def test_file_is_sent_again_only_when_it_changed(url: str) -> None:
    for encoding in {}, {"Accept-Encoding": "gzip"}:
        first = get(url, FILE, encoding)
        tag = first.headers["etag"]
        for held in tag, f"W/{tag}", f'"other", {tag}':
            again = get(url, FILE, {**encoding, "If-None-Match": held})
            assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        assert get(url, FILE, {**encoding, "If-None-Match": '"other"'}).body == first.body


def test_file_is_compressed_for_those_who_take_that(url: str) -> None:
    path = "/console/static/vendor/marked-18.2.1/marked.esm.js"
    plain = get(url, path)
    assert "content-encoding" not in plain.headers
    assert get(url, path, {"Accept-Encoding": "gzip;q=0, br"}).body == plain.body

    packed = get(url, path, {"Accept-Encoding": "br, gzip"})
    assert packed.headers["content-encoding"] == "gzip"
    assert gzip.decompress(packed.body) == plain.body == (STATIC / path.removeprefix("/console/static/")).read_bytes()
    assert packed.headers["etag"] != plain.headers["etag"]
    assert packed.headers["vary"] == "accept-encoding"


def test_head_is_get_without_the_body(url: str) -> None:
    whole, head = get(url, FILE), get(url, FILE, method="HEAD")

    assert head.status == 200
    assert head.headers["content-length"] == whole.headers["content-length"] == str(len(whole.body))


@pytest.mark.parametrize("path", HOSTILE)
def test_no_path_leads_out_of_the_folder(url: str, path: str) -> None:
    refusal(get(url, path, BROWSER), 404, "NotFoundError")


def test_page_needs_no_key_and_everything_else_does() -> None:
    with serving(debug=True, api_keys=[KEY]) as url:
        for path in "/", "/console", FILE:
            assert get(url, path, BROWSER).status == 200
        for path in "/", "/docs", "/openapi.json", "/console/settings", "/console/static/nothing.js":
            refusal(get(url, path), 401, "AuthenticationError")
        assert get(url, "/", {"X-API-KEY": KEY}).json["service"] == "ppio-agent-runtime"


def test_agent_keeps_a_root_of_its_own() -> None:
    app = make_app(debug=True)

    @app.fastapi.get("/")
    def own() -> PlainTextResponse:
        return PlainTextResponse("mine")

    with running(app) as url:
        own_root = get(url, "/", BROWSER)
        assert own_root.body == b"mine"
        assert "vary" not in own_root.headers
        assert is_page(get(url, "/console", BROWSER))


async def test_page_works_below_a_prefix() -> None:
    httpx = pytest.importorskip("httpx", reason="needs httpx, which the client brings along")
    outer = Starlette(routes=[Mount("/agents/one", make_app(debug=True))])
    transport = httpx.ASGITransport(outer)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        page = await client.get("/agents/one/", headers=BROWSER)
        assert "<script" in page.text
        assert (await client.get(f"/agents/one{FILE}")).status_code == 200


def test_page_works_with_isolated_handlers() -> None:
    with serving(debug=True, isolate_handlers=True) as url:
        assert is_page(get(url, "/", BROWSER))
        assert get(url, FILE).status == 200


def test_all_files_of_all_views_are_small() -> None:
    sizes = {
        path.relative_to(STATIC): len(gzip.compress(path.read_bytes(), 9))
        for path in STATIC.rglob("*")
        if path.is_file() and path.name != "LICENSE"
    }

    assert sum(sizes.values()) <= MAX_BYTES, sizes


def test_page_asks_nobody_else() -> None:
    own = [path for path in STATIC.rglob("*") if path.is_file() and "vendor" not in path.parts]
    for path in own:
        text = path.read_text(encoding="utf-8")
        foreign = re.findall(r"(?:src|href|import|from|url\()\W{0,3}https?://[^\s\"')]+", text)
        assert foreign == [], path


def test_vendored_files_are_those_that_npm_published(tmp_path: Path) -> None:
    scripts = Path(__file__).parents[2] / "scripts"
    finished = subprocess.run(
        [sys.executable, scripts / "vendor.py", "--check"], capture_output=True, text=True, check=False
    )
    assert finished.returncode == 0, finished.stdout

    changed = tmp_path / "vendor"
    shutil.copytree(STATIC / "vendor", changed)
    (changed / "htm-3.1.1/htm.mjs").write_bytes(b"export default 1;")
    (changed / "marked-18.2.1/marked.esm.js").unlink()
    (changed / "more.js").touch()
    program = f"from pathlib import Path\nimport vendor\nprint(list(vendor.problems(Path({str(changed)!r}))))"
    said = subprocess.run([sys.executable, "-c", program], cwd=scripts, capture_output=True, text=True, check=True)
    assert ast.literal_eval(said.stdout) == [
        "htm-3.1.1/htm.mjs is not the file whose hash is in vendor.sha256.",
        "marked-18.2.1/marked.esm.js is missing.",
        "more.js is not in vendor.toml.",
    ]


@pytest.mark.slow
def test_browser_runs_the_page_under_its_policy(url: str) -> None:
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright (dependency group test-backends)")
    chromium = shutil.which("chromium") or pytest.skip("needs the program chromium")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page()
        told: list[str] = []
        page.on("console", lambda message: told.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: told.append(str(error)))
        page.goto(url)
        page.wait_for_function("document.querySelector('h1') !== null")
        assert page.evaluate(
            """async () => {
                const names = ["preact", "htm", "marked", "dompurify", "highlight/core", "highlight/json"];
                await Promise.all(names.map((name) => import(name)));
                return [typeof DOMPurify.sanitize, String(DOMPurify.sanitize("<b>x<script>1</script>"))];
            }"""
        ) == ["function", "<b>x</b>"]
        assert told == []
        browser.close()
