"""Which commands there are: name, group and summary in the help. The file of a command has its name."""

from __future__ import annotations

from typing import Final, NamedTuple

_WRITE: Final = "Write an agent"
_USE: Final = "Use it, on the platform or with --local"
_LOOK: Final = "Look around"


class Summary(NamedTuple):
    """What the help of `ppio-agent` says about a command; the first sentence of its own help says the same."""

    group: str
    text: str


COMMANDS: Final = {
    "init": Summary(_WRITE, "Make a new agent: program, manifest, Dockerfile."),
    "dev": Summary(_WRITE, "Run the agent here, and again after each save."),
    "validate": Summary(_WRITE, "Check an agent's folder before it is deployed."),
    "deploy": Summary(_USE, "Make a template of an agent, to start sandboxes from."),
    "invoke": Summary(_USE, "Ask an agent, and show its answer or its stream."),
    "list": Summary(_USE, "List the templates."),
    "info": Summary(_USE, "Show one template."),
    "sessions": Summary(_USE, "List, pause, resume and close living sessions."),
    "logs": Summary(_USE, "Show what the agent of a session has written."),
    "delete": Summary(_USE, "Delete a template, or end a session."),
    "config": Summary(_LOOK, "Show every setting and where its value comes from."),
    "doctor": Summary(_LOOK, "Check what is installed, configured and reachable."),
}
