"""`doctor`: what is installed, configured and reachable; nothing secret, and never for long."""

from __future__ import annotations

import shutil
import socket
import zipfile
from typing import Any

import pytest

from ppio_agent_client import SyncAgentRuntimeClient, SyncLocalSandboxProvider, __version__
from tests.support.command_line import CommandLine, Finished
from tests.support.platform import API_KEY, Server
from tests.support.ports import free_port

SECRET = "sk-very-secret"


def checks(ended: Finished) -> dict[str, Any]:
    return {check["name"]: check for check in ended.document["checks"]}


@pytest.mark.slow
def test_without_a_key_nothing_is_an_error(cli: CommandLine, platform: Server) -> None:
    ended = cli.run("doctor", "--json", PPIO_API_URL=platform.url)
    found = checks(ended)
    assert (ended.code, ended.document["ok"]) == (0, True)
    assert found["key"]["state"] == "note"
    assert found["api"]["state"] == "ok"
    assert found["ppio-agent-client"]["state"] == "ok"
    assert "agent" not in {check["topic"] for check in ended.document["checks"]}


@pytest.mark.slow
def test_a_key_that_holds_is_told(cli: CommandLine, platform: Server) -> None:
    api = checks(cli.run("doctor", "--json", PPIO_API_URL=platform.url, PPIO_API_KEY=API_KEY))["api"]
    assert api["state"] == "ok"
    assert "accepts the API key" in api["value"]


@pytest.mark.slow
def test_a_key_that_is_refused_is_an_error_and_never_shown(cli: CommandLine, platform: Server) -> None:
    for form in (["--json"], [], ["--debug"]):
        ended = cli.run("doctor", *form, PPIO_API_URL=platform.url, PPIO_API_KEY=SECRET)
        assert ended.code == 1
        assert "refuses the API key" in ended.out
        assert SECRET not in ended.out + ended.err


@pytest.mark.parametrize("key", ["", SECRET])
@pytest.mark.slow
def test_a_password_in_an_address_is_never_shown(cli: CommandLine, platform: Server, key: str) -> None:
    address = platform.url.replace("://", "://me:hush@")
    ended = cli.run("doctor", PPIO_API_URL=address, PPIO_API_KEY=key)
    assert "***@127.0.0.1" in ended.out
    assert "hush" not in ended.out + ended.err


@pytest.mark.slow
def test_an_address_where_nobody_answers_is_told(cli: CommandLine) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert checks(cli.run("doctor", "--json", PPIO_API_URL=url))["api"]["state"] == "warning"
    ended = cli.run("doctor", "--json", PPIO_API_URL=url, PPIO_API_KEY=SECRET)
    assert ended.code == 1
    assert checks(ended)["api"]["state"] == "error"


@pytest.mark.slow
def test_an_address_that_never_answers_does_not_hold_it_up(cli: CommandLine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ended = cli.run("doctor", "--json", PPIO_API_URL=url, PPIO_API_KEY=SECRET)
    assert ended.code == 1
    assert checks(ended)["api"]["state"] == "error"
    assert checks(ended)["api"]["value"] == f"{url} returns an error"


@pytest.mark.parametrize(("domain", "state"), [("sandbox.ppio.cn", "note"), ("cn-beijing-1.sandbox.ppio.com", "ok")])
@pytest.mark.slow
def test_the_half_of_the_platform_is_told(cli: CommandLine, platform: Server, domain: str, state: str) -> None:
    found = checks(cli.run("doctor", "--json", PPIO_API_URL=platform.url, PPIO_DOMAIN=domain))
    assert found["domain"]["state"] == state
    assert domain in found["domain"]["value"]


@pytest.mark.slow
def test_what_lives_here_is_counted(cli: CommandLine, platform: Server) -> None:
    cli.run("init", "agent", "--name", "my-agent")
    provider = SyncLocalSandboxProvider(cli.home)
    provider.deploy(cli.folder / "agent")
    with SyncAgentRuntimeClient(provider=provider) as client:
        client.create_session("my-agent", session_id="s")
        shutil.rmtree(cli.folder / "agent")
        found = checks(cli.run("doctor", "--json", PPIO_API_URL=platform.url))
    assert found["templates"]["value"] == "1 template"
    assert found["sandboxes"]["value"] == "1 running"
    assert "my-agent" in found["stale"]["value"]


@pytest.mark.slow
def test_the_start_of_the_agent_is_measured(cli: CommandLine, platform: Server) -> None:
    cli.run("init", "--name", "my-agent")
    (cli.folder / "slow_library.py").write_text("import time\ntime.sleep(2.5)\n", encoding="utf-8")
    program = cli.folder / "main.py"
    program.write_text(f"import slow_library\n{program.read_text(encoding='utf-8')}", encoding="utf-8")
    found = checks(cli.run("doctor", "--json", PPIO_API_URL=platform.url))
    assert found["start"]["state"] == "note"
    assert "slow_library" in found
    assert float(found["slow_library"]["value"].removesuffix(" ms")) >= 2400


@pytest.mark.slow
def test_an_agent_that_cannot_be_imported_is_an_error(cli: CommandLine, platform: Server) -> None:
    cli.run("init", "--name", "my-agent")
    (cli.folder / "main.py").write_text("1 / 0\n", encoding="utf-8")
    ended = cli.run("doctor", "--json", PPIO_API_URL=platform.url)
    assert ended.code == 1
    assert checks(ended)["start"]["hint"] == "ppio-agent validate"


@pytest.mark.slow
def test_whether_an_image_can_be_built_is_asked_of_the_index(cli: CommandLine, platform: Server) -> None:
    nowhere = {"PIP_NO_INDEX": "1", "PPIO_API_URL": platform.url}
    missing = checks(cli.run("doctor", "--json", **nowhere))["index"]
    assert (missing["state"], "does not find ppio-agent-runtime==" in missing["value"]) == ("note", True)
    assert "wheels/" in missing["hint"]

    about = f"ppio_agent_runtime-{__version__}.dist-info"
    (cli.folder / "wheels").mkdir()
    file = cli.folder / "wheels" / f"ppio_agent_runtime-{__version__}-py3-none-any.whl"
    metadata = f"Metadata-Version: 2.1\nName: ppio-agent-runtime\nVersion: {__version__}\n"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr(f"{about}/METADATA", metadata)
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", "")
    assert checks(cli.run("doctor", "--json", **nowhere))["index"]["state"] == "ok"
