"""All commands: name, group and summary in the help. The file of a command has its name."""

from __future__ import annotations

from typing import Final, NamedTuple

from ..messages import later

_WRITE: Final = later("Write an agent")
_USE: Final = later("Use it, on the platform or with --local")
_LOOK: Final = later("Diagnose")


class Summary(NamedTuple):
    """A command's line in the help of `ppio-agent`, equal to the first sentence of the command's own help."""

    group: str
    text: str


COMMANDS: Final = {
    "init": Summary(_WRITE, later("Create a new agent: program, manifest, Dockerfile.")),
    "dev": Summary(_WRITE, later("Run the agent on this machine, and restart it after each save.")),
    "validate": Summary(_WRITE, later("Check an agent's folder before it is deployed.")),
    "deploy": Summary(_USE, later("Make a template of an agent, which sandboxes are started from.")),
    "invoke": Summary(_USE, later("Call an agent, and show its result or its stream.")),
    "chat": Summary(_USE, later("Talk to an agent in the terminal.")),
    "console": Summary(_USE, later("Talk to an agent in the browser, and see its events, runs and health.")),
    "list": Summary(_USE, later("List the templates.")),
    "info": Summary(_USE, later("Show one template.")),
    "sessions": Summary(_USE, later("List, pause, resume and close running sessions.")),
    "logs": Summary(_USE, later("Show the output of a session's agent.")),
    "delete": Summary(_USE, later("Delete a template, or end a session.")),
    "config": Summary(_LOOK, later("Show every setting and where its value comes from.")),
    "doctor": Summary(_LOOK, later("Check what is installed, configured and reachable.")),
}
