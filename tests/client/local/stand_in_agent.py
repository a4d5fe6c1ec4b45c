"""A stand-in for `python -m ppio_agent_runtime <entrypoint>`: a real process with a real port, in plain Python.

It runs the entrypoint's file, as the runtime would import it, and then serves on PPIO_AGENT_HOST and PPIO_AGENT_PORT.
What a test wants it to do is the path of a GET request; the answer is JSON.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

refuses_to_end = threading.Event()


def facts() -> dict[str, object]:
    """Everything that a test may want to know of this process."""
    descriptors = Path("/proc/self/fd")
    version = Path("version.txt")
    return {
        "arguments": sys.argv[1:],
        "cwd": str(Path.cwd()),
        "descriptors": [str(link.readlink()) for link in descriptors.iterdir() if link.is_symlink()],
        "environment": dict(os.environ),
        "files": sorted(path.name for path in Path().iterdir()),
        "ignored": [int(number) for number in signal.valid_signals() if signal.getsignal(number) is signal.SIG_IGN],
        "pid": os.getpid(),
        "version": version.read_text() if version.exists() else None,
    }


def spawn(own_session: str = "") -> dict[str, object]:
    child = subprocess.Popen(["sleep", "600"], start_new_session=bool(own_session))
    return {"pid": child.pid}


def abandon() -> dict[str, object]:
    """Start a process whose parent ends at once."""
    shell = subprocess.run(["sh", "-c", "sleep 600 >/dev/null & echo $!"], stdout=subprocess.PIPE, check=True)
    return {"pid": int(shell.stdout)}


def say(text: str, times: str = "1") -> dict[str, object]:
    print(text * int(times), flush=True)
    return {}


leaves_with: list[int] = []


def leave(code: str) -> dict[str, object]:
    leaves_with.append(int(code))  # once this is answered
    return {}


def refuse_to_end() -> dict[str, object]:
    refuses_to_end.set()
    return {}


ACTS: dict[str, Callable[..., dict[str, object]]] = {
    "/facts": facts,
    "/spawn": spawn,
    "/abandon": abandon,
    "/say": say,
    "/leave": leave,
    "/refuse-to-end": refuse_to_end,
    "/ping": lambda: {"status": "Healthy"},
}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        url = urlsplit(self.path)
        body = json.dumps(ACTS[url.path](**dict(parse_qsl(url.query)))).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if leaves_with:
            os._exit(leaves_with[0])

    def log_message(self, *_: object) -> None:
        """Keep the log for what the agent says."""


def drain(*_: object) -> None:
    print("asked to end", flush=True)
    if not refuses_to_end.is_set():
        print("drained", flush=True)
        os._exit(0)


def main(entrypoint: str) -> None:
    signal.signal(signal.SIGTERM, drain)
    if entrypoint.endswith(".py"):
        exec(compile(Path(entrypoint).read_text(encoding="utf-8"), entrypoint, "exec"), {"__name__": "agent"})
    address = (os.environ["PPIO_AGENT_HOST"], int(os.environ["PPIO_AGENT_PORT"]))
    ThreadingHTTPServer(address, Handler).serve_forever()


if __name__ == "__main__":
    main(sys.argv[-1])
