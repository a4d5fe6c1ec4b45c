"""Imports an agent for `ppio-agent validate`, under the agent's own Python, and says what came of it.

Called as `python -c <this text> <entrypoint>`. What the agent prints goes to standard error; the answer is one line of
JSON on standard output. Its `app.run()` serves nothing.
"""

import json
import os
import runpy
import traceback
from pathlib import Path

FOLDER = Path.cwd().resolve()


def place_of(report: traceback.TracebackException) -> dict[str, object]:
    """Return the file, inside the agent's folder, and the line that an error comes from."""
    places = [(frame.filename, frame.lineno) for frame in report.stack]
    if isinstance(getattr(report, "filename", None), str):  # a syntax error names its place itself
        places.append((str(report.filename), int(report.lineno or 1)))
    for file, line in reversed(places):
        path = Path(file).resolve()
        if not file.startswith("<") and path.is_relative_to(FOLDER) and "site-packages" not in path.parts:
            return {"file": path.relative_to(FOLDER).as_posix(), "line": line}
    return {"file": None, "line": None}


def findings() -> dict[str, object]:
    """Run the agent's module and see which app it would serve."""
    from ppio_agent_runtime import PPIOAgentRuntimeApp

    class Reached(BaseException):
        """Past every `except Exception` of the agent."""

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
    except SystemExit:  # the runtime has said why, or the agent ends the process
        return {"app": False}
    except Exception as error:  # noqa: BLE001  # whatever the agent's code raises
        report = traceback.TracebackException.from_exception(error)
        words = "".join(report.format_exception_only()).strip().splitlines()
        return {"app": False, "raised": words[-1], **place_of(report)}
    return {"app": False}


def main() -> None:
    """Print the answer where nothing that the agent prints can be."""
    answer = os.dup(1)
    os.dup2(2, 1)
    os.write(answer, json.dumps(findings()).encode())


if __name__ == "__main__":
    main()
