"""The platform as a process of its own: `python -m tests.support.platform --port 0` prints where it listens."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from . import API_KEY, Platform, Server


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.support.platform", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--legacy", action="store_true", help="speak as sandbox.ppio.cn does")
    parser.add_argument("--api-key", action="append", help=f"a key that opens it; default {API_KEY}")
    parser.add_argument("--pair", action="append", default=[], metavar="ID:SECRET", help="a key for signed requests")
    parser.add_argument("--template", action="append", default=[], metavar="ID=FOLDER", help="a template with files")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="platform-") as folder:
        pairs = dict(pair.split(":", 1) for pair in options.pair)
        keys = set(options.api_key) if options.api_key else None
        platform = Platform(Path(folder), legacy=options.legacy, api_keys=keys, pairs=pairs)
        for given in options.template:
            template_id, _, source = given.partition("=")
            platform.add_template(template_id, Path(source))
        server = Server(platform, port=options.port)
        for number in (signal.SIGINT, signal.SIGTERM):  # uvicorn ends gracefully, then raises them again
            signal.signal(number, lambda *_: sys.exit(0))
        print(f"listens on {server.url}", flush=True)
        server.run()


if __name__ == "__main__":
    main()
