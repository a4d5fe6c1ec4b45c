"""A Dockerfile as the platform's builder takes it.

The builder of the official SDK knows FROM, RUN, COPY, ADD, WORKDIR, USER, ENV and ARG, one stage, and the first source
of a COPY; it makes a start command of CMD and ENTRYPOINT and prints what it does not know. So the file is rewritten
before it gets there: one instruction on each line, each with what Docker would do, and what cannot be done is refused
with its line.
"""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ppio_agent_models import ConfigurationError

_START: Final = ("CMD", "ENTRYPOINT")
_MEANINGLESS: Final = ("EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "STOPSIGNAL", "VOLUME")
_KEPT: Final = ("ARG", "ENV", "USER", "WORKDIR")
_FLAG: Final = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S+))?\s+")
_HARMLESS_FLAGS: Final = {"RUN": ("network", "security"), "COPY": ("link",), "ADD": ("link",)}
_OTHER_LIBC: Final = re.compile(r"(^|[/:-])(alpine|busybox|scratch)")


class Instruction(NamedTuple):
    """One instruction: the number of its first line, its keyword in capitals, and the rest on one line."""

    line: int
    keyword: str
    value: str

    def __str__(self) -> str:
        return f"{self.keyword} {self.value}"


@dataclass
class BuildFile:
    """A Dockerfile for the platform.

    Attributes:
        image: What it starts from.
        instructions: What is done on it, in order, each with the line of the Dockerfile that it stands for.
        sources: What is copied from the folder: paths and patterns.
        notes: What was left out and may surprise, a sentence each.
        details: What was left out and means nothing, a sentence each.
    """

    image: str = ""
    instructions: list[Instruction] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The file that the builder gets."""
        return "\n".join([f"FROM {self.image}", *map(str, self.instructions)]) + "\n"


def read_dockerfile(text: str, *, source: str) -> BuildFile:
    """Return what a Dockerfile asks for, without its start command.

    Args:
        text: The file's content.
        source: What to call the file in an error.

    Raises:
        ConfigurationError: It asks for something that the platform cannot do; the message has the line.
    """
    build = BuildFile()
    for instruction in _instructions(text):
        try:
            _take(build, instruction)
        except ValueError as error:
            raise ConfigurationError(f"{source}, line {instruction.line}: {error}") from error
    if not build.image:
        raise ConfigurationError(
            f"{source} has no FROM: it must name the image to start from, such as python:3.12-slim"
        )
    return build


def _instructions(text: str) -> list[Instruction]:
    found: list[Instruction] = []
    begun, parts = 0, list[str]()
    for number, raw in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        begun = begun if parts else number
        parts.append(line.removesuffix("\\").strip())
        if not line.endswith("\\"):
            found.append(_instruction(begun, " ".join(parts)))
            parts = []
    return [*found, _instruction(begun, " ".join(parts))] if parts else found


def _instruction(line: int, text: str) -> Instruction:
    keyword, _, value = text.partition(" ")
    return Instruction(line, keyword.upper(), value.strip())


def _take(build: BuildFile, instruction: Instruction) -> None:
    line, keyword, value = instruction
    if keyword == "FROM":
        build.image = _image(value, first=not build.image)
        if _OTHER_LIBC.search(build.image):
            raise ValueError(
                f"{build.image!r} has no apt and glibc, which the platform needs; take a Debian or Ubuntu image"
            )
    elif keyword == "ARG" and not build.image:
        raise ValueError("an ARG before FROM is not understood by the platform; write its value into FROM")
    elif keyword in ("COPY", "ADD"):
        flags, sources, target = _copy(keyword, value)
        build.sources.extend(sources)
        build.instructions.extend(
            Instruction(line, "COPY", " ".join([*flags, _quoted(one), _quoted(target)])) for one in sources
        )
    elif keyword == "RUN":
        build.instructions.append(Instruction(line, keyword, _command(value)))
    elif keyword in _KEPT:
        build.instructions.append(instruction)
    elif keyword in _START:
        build.notes.append(
            f"{keyword} (line {line}) is not used: the agent is started in each sandbox by who calls it."
        )
    elif keyword in _MEANINGLESS:
        build.details.append(f"{keyword} (line {line}) means nothing on the platform and is left out.")
    else:
        raise ValueError(f"{keyword} is not understood by the platform")


def _image(value: str, *, first: bool) -> str:
    if not first:
        raise ValueError("a second FROM: the platform builds one stage; put everything into one")
    image = _FLAG.sub("", value + " ").split()[0] if value else ""
    if not image or "$" in image:
        raise ValueError(f"FROM needs the name of an image, without variables, not {value!r}")
    return image


def _command(value: str) -> str:
    _refuse_here_documents(value)
    while flag := _FLAG.match(value):
        cached = flag["name"] == "mount" and "type=cache" in (flag["value"] or "")
        if not cached and flag["name"] not in _HARMLESS_FLAGS["RUN"]:
            raise ValueError(f"RUN --{flag['name']} is not understood by the platform")
        value = value[flag.end() :]
    words = _json_list(value)
    return shlex.join(words) if words else value


def _copy(keyword: str, value: str) -> tuple[list[str], list[str], str]:
    _refuse_here_documents(value)
    flags = []
    while flag := _FLAG.match(value):
        if flag["name"] == "chown":
            flags.append(flag[0].strip())
        elif flag["name"] not in _HARMLESS_FLAGS[keyword]:
            raise ValueError(f"{keyword} --{flag['name']} is not understood by the platform")
        value = value[flag.end() :]
    *sources, target = _json_list(value) or _words(value) or [""]
    if not sources:
        raise ValueError(f"{keyword} needs what to copy and where to, not {value!r}")
    if remote := next((one for one in sources if re.match(r"[a-z+]+://|git@", one)), None):
        raise ValueError(f"{keyword} of {remote!r}: the platform copies files of the folder only; download it with RUN")
    return flags, [one.lstrip("/") or "." for one in sources], target


def _refuse_here_documents(value: str) -> None:
    if re.search(r"(^|\s)<<-?['\"]?\w", value):
        raise ValueError("here-documents are not understood by the platform; use a script file")


def _json_list(value: str) -> list[str] | None:
    if not value.startswith("["):
        return None
    try:
        words = json.loads(value)
    except ValueError:
        return None
    return [str(word) for word in words] if isinstance(words, list) else None


def _words(value: str) -> list[str]:
    try:
        return shlex.split(value)
    except ValueError as error:
        raise ValueError(f"{value!r} cannot be read: {error}") from None


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
