"""What can be a WebSocket handler, and what is imported for it."""

import subprocess
import sys
from typing import Any

import pytest
from starlette.websockets import WebSocket

from ppio_agent_runtime import ConfigurationError, PPIOAgentRuntimeApp

pytestmark = pytest.mark.contract


@pytest.mark.parametrize("function", [lambda websocket: None, 5, None])
def test_only_async_functions_are_handlers(function: Any) -> None:
    with pytest.raises(ConfigurationError, match="async def"):
        PPIOAgentRuntimeApp().websocket(function)


def test_a_parameter_that_nothing_fills_is_a_clear_error() -> None:
    async def handler(websocket: WebSocket, room: str) -> None:
        return None

    with pytest.raises(ConfigurationError, match="'room'"):
        PPIOAgentRuntimeApp().websocket(handler)


def test_there_is_one_handler() -> None:
    async def handler(websocket: WebSocket) -> None:
        return None

    app = PPIOAgentRuntimeApp()
    app.websocket(handler)
    with pytest.raises(ConfigurationError, match="already"):
        app.websocket(handler)


WITHOUT_EXTRA = """
import sys
sys.modules["websockets"] = None
from importlib import util
found = util.find_spec
util.find_spec = lambda name, *more: None if name == "websockets" else found(name, *more)
from ppio_agent_runtime import PPIOAgentRuntimeApp
app = PPIOAgentRuntimeApp()
app.entrypoint(lambda request: None)
async def handler(websocket): ...
app.websocket(handler)
app.run(port=0, host="127.0.0.1")
"""


def test_without_the_extra_the_start_fails_with_the_line_to_install_it() -> None:
    finished = subprocess.run([sys.executable, "-c", WITHOUT_EXTRA], capture_output=True, text=True, check=False)

    assert finished.returncode == 1
    assert "pip install 'ppio-agent-runtime[websocket]'" in finished.stderr


WITHOUT_HANDLER = """
import sys
from urllib.request import urlopen
from ppio_agent_runtime import PPIOAgentRuntimeApp
from ppio_agent_runtime.testing import running
app = PPIOAgentRuntimeApp()
app.entrypoint(lambda request: None)
with running(app) as url:
    urlopen(url + "/ping").close()
    print([name for name in ("websockets", "starlette", "fastapi") if name in sys.modules])
"""


def test_nothing_of_websockets_is_imported_without_a_handler() -> None:
    finished = subprocess.run([sys.executable, "-c", WITHOUT_HANDLER], capture_output=True, text=True, check=True)

    assert finished.stdout == "[]\n"
