"""Runs a script with its own server, as `python <file>` does, on the port in PPIO_AGENT_PORT.

Called as `python <this file> <script>` by the agent's Python, in which our packages may not be installed, so it only
uses the standard library.

On the platform every agent has port 8080 to itself, so such scripts use it, as the servers of AgentCore and of the
platform's own runtime do by default. On a machine with several agents only one could have it. Therefore a socket that a
script binds to 8080 is bound to PPIO_AGENT_HOST and PPIO_AGENT_PORT instead; other ports are not changed. PORT is set
to the same port, for scripts that read it.
"""

import os
import runpy
import socket
import sys
from importlib.util import find_spec
from typing import Any

PLATFORM_PORT = 8080


def main() -> None:
    """Run the script in this process."""
    del sys.argv[0]
    script = sys.argv[0]
    port = int(os.environ.setdefault("PPIO_AGENT_PORT", str(PLATFORM_PORT)))
    os.environ["PORT"] = str(port)
    if port != PLATFORM_PORT:
        redirect(os.environ["PPIO_AGENT_HOST"], port)
    sys.path[0] = os.path.dirname(os.path.abspath(script))
    runpy.run_path(script, run_name="__main__")


def redirect(host: str, port: int) -> None:
    """Make sockets bind to `port` instead of the platform's port."""
    bind = socket.socket.bind

    def bind_elsewhere(self: socket.socket, address: Any) -> None:
        if isinstance(address, tuple) and address[1] == PLATFORM_PORT:
            address = (host if self.family == socket.AF_INET else address[0], port, *address[2:])
        bind(self, address)

    setattr(socket.socket, "bind", bind_elsewhere)  # noqa: B010  # not to the taste of type checkers
    if find_spec("uvloop") and find_spec("uvicorn"):
        _redirect_uvicorn(host, port)


def _redirect_uvicorn(host: str, port: int) -> None:
    """Redirect uvicorn too, because uvloop doesn't bind its sockets through Python."""
    import uvicorn

    initialize = uvicorn.Config.__init__

    def initialize_elsewhere(self: Any, *arguments: Any, **options: Any) -> None:
        initialize(self, *arguments, **options)
        if self.port == PLATFORM_PORT:
            self.host, self.port = host, port

    setattr(uvicorn.Config, "__init__", initialize_elsewhere)  # noqa: B010


if __name__ == "__main__":
    main()
