"""Imports an agent for `ppio-agent validate`, with the agent's own Python, and reports the result.

Called as `python -c <this text> <entrypoint>`. What the agent prints goes to standard error; the result is one line of
JSON on standard output. Its `app.run()` serves nothing.
"""

import json
import os
import runpy
import traceback
from pathlib import Path

FOLDER = Path.cwd().resolve()


def place_of(report: traceback.TracebackException) -> dict[str, object]:
    """Return the file, inside the agent's folder, and the line of an error."""
    places = [(frame.filename, frame.lineno) for frame in report.stack]
    if isinstance(getattr(report, "filename", None), str):  # A syntax error has its own place.
        places.append((str(report.filename), int(report.lineno or 1)))
    for file, line in reversed(places):
        path = Path(file).resolve()
        if not file.startswith("<") and path.is_relative_to(FOLDER) and "site-packages" not in path.parts:
            return {"file": path.relative_to(FOLDER).as_posix(), "line": line}
    return {"file": None, "line": None}


def findings() -> dict[str, object]:
    """Import the agent's module and find the app that it would serve."""
    from ppio_agent_runtime import PPIOAgentRuntimeApp

    class Reached(BaseException):
        """Not caught by an `except Exception` of the agent."""

    apps: list[PPIOAgentRuntimeApp] = []

    def run(
        self: PPIOAgentRuntimeApp, port: int | None = None, host: str | None = None, **uvicorn_options: object
    ) -> None:
        apps.append(self)
        raise Reached

    PPIOAgentRuntimeApp.run = run  # type: ignore[method-assign]
    try:
        runpy.run_module("ppio_agent_runtime", run_name="__main__", alter_sys=True)
    except Reached:
        return {"app": True, "handler": apps[0].entrypoint_name}
    except SystemExit:  # The runtime has printed why, or the agent ends the process.
        return {"app": False}
    except Exception as error:  # noqa: BLE001  # whatever the agent's code raises
        report = traceback.TracebackException.from_exception(error)
        words = "".join(report.format_exception_only()).strip().splitlines()
        return {"app": False, "raised": words[-1], **place_of(report)}
    return {"app": False}


def main() -> None:
    """Print the result on the original standard output, which the agent cannot write to."""
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, json.dumps(findings()).encode())


if __name__ == "__main__":
    main()
