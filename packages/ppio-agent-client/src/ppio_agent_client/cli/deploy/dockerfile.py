"""Translates a Dockerfile for the platform's builder.

The builder of the official SDK supports FROM, RUN, COPY, ADD, WORKDIR, USER, ENV and ARG, a single stage, and only the
first source of a COPY, without variables; it turns CMD and ENTRYPOINT into a start command and prints what it doesn't
know. So the file is rewritten first: one instruction per line with the effect that it has in Docker. Anything
unsupported is an error with its line.
https://docs.docker.com/reference/dockerfile/
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from ppio_agent_models import ConfigurationError

from ..messages import tr

_START: Final = ("CMD", "ENTRYPOINT")
_MEANINGLESS: Final = ("EXPOSE", "HEALTHCHECK", "LABEL", "MAINTAINER", "STOPSIGNAL", "VOLUME")
_KEPT: Final = ("ENV", "USER", "WORKDIR")
_FLAG: Final = re.compile(r"--(?P<name>[a-z-]+)(?:=(?P<value>\S+))?\s+")
_HARMLESS_FLAGS: Final = {"RUN": ("network", "security"), "COPY": ("link",), "ADD": ("link",)}
_OTHER_LIBC: Final = re.compile(r"(alpine|busybox)(:|$)|.*:(.*[-.])?(alpine|busybox)|scratch$")
_ARCHIVE: Final = re.compile(r"\.(tar(\.\w+)?|tgz|tbz2?|txz|tzst)$", re.IGNORECASE)
"""What ADD unpacks, as far as a name says it."""
_DIRECTIVE: Final = re.compile(r"#\s*(?P<name>\w+)\s*=\s*(?P<value>\S*)\s*")
_VARIABLE: Final = re.compile(
    r"(?P<escape>[\\`])\$|\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?::?(?P<operator>[-+?])(?P<word>[^}]*))?\})"
)


class Instruction(NamedTuple):
    """One instruction: the number of its first line, its keyword in capitals, and the rest on one line.

    For a COPY, `source` is the path or pattern that it copies, and `value` has `{}` in its place.
    """

    line: int
    keyword: str
    value: str
    source: str | None = None

    def __str__(self) -> str:
        value = self.value if self.source is None else self.value.replace("{}", _quoted(self.source), 1)
        return f"{self.keyword} {value}"

    @property
    def is_pattern(self) -> bool:
        """Whether it copies the matches of a pattern, of which there may be none."""
        return self.source is not None and not set("*?[").isdisjoint(self.source)


@dataclass
class BuildFile:
    """A Dockerfile for the platform.

    Attributes:
        image: The base image.
        instructions: The instructions in order, each with its line in the Dockerfile.
        notes: Ignored instructions that the user should know about, a sentence each.
        details: Ignored instructions without effect, a sentence each.
    """

    image: str = ""
    instructions: list[Instruction] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    details: list[str] = field(default_factory=list)

    @property
    def sources(self) -> list[str]:
        """Paths and patterns that are copied from the folder."""
        return [step.source for step in self.instructions if step.source is not None]

    @property
    def text(self) -> str:
        """The Dockerfile that is passed to the builder."""
        return "\n".join([f"FROM {self.image}", *map(str, self.instructions)]) + "\n"


def read_dockerfile(text: str, *, source: str) -> BuildFile:
    """Parse a Dockerfile, without its start command.

    Args:
        text: The file's content.
        source: The file's name in errors.

    Raises:
        ConfigurationError: It uses something that the platform doesn't support; the message has the line.
    """
    build, lines = BuildFile(), text.removeprefix("\ufeff").splitlines()
    reader = _Reader(build, _escape_sign(lines))
    for instruction in reader.instructions(lines):
        try:
            reader.take(instruction)
        except ValueError as error:
            raise ConfigurationError(f"{source}:{instruction.line}: {error}") from error
    if not build.image:
        raise ConfigurationError(
            tr("{source} has no FROM, which names the image to start from, such as python:3.12-slim", source=source)
        )
    return build


def _escape_sign(lines: list[str]) -> str:
    """Return the character that the directive `# escape=` sets; directives come before everything else."""
    for line in lines:
        if (found := _DIRECTIVE.fullmatch(line.strip())) is None:
            break
        if found["name"].lower() == "escape":
            return found["value"]
    return "\\"


class _Reader:
    """Processes instructions in order, and tracks variables and the shell."""

    def __init__(self, build: BuildFile, escape: str) -> None:
        self._build = build
        self._escape = escape
        self._variables: dict[str, str] = {}
        self._of_image: dict[str, str] = {}
        self._shell: list[str] = []

    def instructions(self, lines: list[str]) -> list[Instruction]:
        """Return the instructions on the lines."""
        goes_on = re.compile(rf"(^|[^{re.escape(self._escape)}])({re.escape(self._escape)}[ \t]*)$")
        found, text, begun = list[Instruction](), "", 0
        for number, raw in enumerate(lines, 1):
            if not raw.strip() or raw.lstrip().startswith("#"):
                continue
            begun = begun if text else number
            sign = goes_on.search(raw)
            part = raw[: sign.start(2)] if sign else raw
            if part[:1].isspace() or not text:
                text, part = f"{text.rstrip()} " if text else "", part.lstrip()
            text += part
            if not sign:
                found.append(_instruction(begun, text))
                text = ""
        return [*found, _instruction(begun, text)] if text else found

    def take(self, instruction: Instruction) -> None:
        """Add an instruction to the build.

        Raises:
            ValueError: The platform doesn't support it.
        """
        line, keyword, value = instruction[:3]
        build = self._build
        if not value:
            raise ValueError(tr("{keyword} needs something behind it", keyword=keyword))
        if keyword == "FROM":
            build.image = self._image(value)
        elif keyword == "ARG":
            for name, default in self._arguments(value):
                self._variables[name] = default
                if build.image:
                    build.instructions.append(Instruction(line, keyword, f"{name}={shlex.quote(default)}"))
        elif not build.image:
            raise ValueError(tr("{keyword} stands before FROM", keyword=keyword))
        elif keyword in _START:
            build.notes.append(
                tr(
                    "{keyword} (line {line}) is not used: the client starts the agent in each sandbox.",
                    keyword=keyword,
                    line=line,
                )
            )
        elif keyword in _MEANINGLESS:
            build.details.append(
                tr("{keyword} (line {line}) has no effect on the platform and is left out.", keyword=keyword, line=line)
            )
        else:
            self._add_step(instruction)

    def _add_step(self, instruction: Instruction) -> None:
        line, keyword, value = instruction[:3]
        build = self._build
        if keyword in ("COPY", "ADD"):
            self._copy(instruction)
        elif keyword == "RUN":
            build.instructions.append(Instruction(line, keyword, self._command(value)))
        elif keyword == "SHELL":
            self._shell = _json_list(value) or []
            if not self._shell:
                raise ValueError(tr('SHELL must be a list, such as ["/bin/bash", "-c"], not {value!r}', value=value))
        elif keyword in _KEPT:
            if keyword == "ENV":
                self._variables |= self._pairs(value)
            else:
                value = self._expanded(value, keyword, strict=False)
            build.instructions.append(Instruction(line, keyword, value))
        else:
            raise ValueError(tr("{keyword} is not supported by the platform", keyword=keyword))

    def _image(self, value: str) -> str:
        if self._build.image:
            raise ValueError(tr("second FROM: the platform builds a single stage"))
        words = _FLAG.sub("", value + " ").split()
        image = self._expanded(words[0], "FROM") if words else ""
        if not image:
            raise ValueError(tr("FROM needs the name of an image, not {value!r}", value=value))
        if _OTHER_LIBC.match(image.partition("@")[0].rpartition("/")[2]) and not image.endswith("/scratch"):
            raise ValueError(
                tr(
                    "{image!r} lacks apt and glibc, which the platform needs; use an image based on Debian or Ubuntu",
                    image=image,
                )
            )
        self._of_image, self._variables = self._variables, {}  # An ARG before FROM must be declared again.
        return image

    def _arguments(self, value: str) -> Iterator[tuple[str, str]]:
        """Yield names and defaults; one without a default takes that of the same ARG before FROM."""
        for word in self._words(value):
            name, has_default, default = word.partition("=")
            yield name, self._expanded(default, "ARG") if has_default else self._of_image.get(name, "")

    def _pairs(self, value: str) -> dict[str, str]:
        words = self._words(value)
        if words and "=" not in words[0]:  # The legacy form: ENV NAME the rest
            name, _, rest = value.partition(" ")
            return {name: self._expanded(rest.strip(), "ENV", strict=False)}
        pairs = (word.partition("=") for word in words)
        return {name: self._expanded(item, "ENV", strict=False) for name, _, item in pairs}

    def _copy(self, instruction: Instruction) -> None:
        line, keyword, value = instruction[:3]
        _refuse_here_documents(value)
        flags = []
        while flag := _FLAG.match(value):
            if flag["name"] == "chown":
                flags.append(self._expanded(flag[0].strip(), keyword))
            elif flag["name"] not in _HARMLESS_FLAGS[keyword]:
                raise ValueError(
                    tr("{keyword} --{name} is not supported by the platform", keyword=keyword, name=flag["name"])
                )
            value = value[flag.end() :]
        *sources, target = _json_list(value) or self._words(value) or [""]
        if not sources:
            raise ValueError(
                tr("{keyword} needs a source and a destination, not {value!r}", keyword=keyword, value=value)
            )
        target = self._expanded(target, keyword, strict=False)
        for one in (self._expanded(source, keyword) for source in sources):
            if re.match(r"[a-z+]+://|git@", one):
                raise ValueError(
                    tr(
                        "{keyword} of {source!r}: the platform copies only files of the folder; download it with RUN",
                        keyword=keyword,
                        source=one,
                    )
                )
            if keyword == "ADD" and _ARCHIVE.search(one):
                raise ValueError(
                    tr(
                        "ADD of {source!r} unpacks it, which the platform does not; use COPY, and RUN tar -xf",
                        source=one,
                    )
                )
            step = Instruction(line, "COPY", " ".join([*flags, "{}", _quoted(target)]), _in_folder(one))
            self._build.instructions.append(step)

    def _command(self, value: str) -> str:
        _refuse_here_documents(value)
        while flag := _FLAG.match(value):
            cached = flag["name"] == "mount" and "type=cache" in (flag["value"] or "")
            if not cached and flag["name"] not in _HARMLESS_FLAGS["RUN"]:
                raise ValueError(tr("RUN --{name} is not supported by the platform", name=flag["name"]))
            value = value[flag.end() :]
        words = _json_list(value) or ([*self._shell, value] if self._shell else None)
        return shlex.join(words) if words else value

    def _words(self, value: str) -> list[str]:
        lexer = shlex.shlex(value, posix=True, punctuation_chars=False)
        lexer.whitespace_split, lexer.commenters, lexer.escape = True, "", self._escape
        try:
            return list(lexer)
        except ValueError as error:
            raise ValueError(tr("{value!r} cannot be read: {error}", value=value, error=error)) from None

    def _expanded(self, text: str, keyword: str, *, strict: bool = True) -> str:
        """Return a text with its variables expanded.

        Args:
            text: The text.
            keyword: The instruction, for errors.
            strict: Whether an unset variable is an error; else it stays, for the platform to expand.
        """

        def value(found: re.Match[str]) -> str:
            if found["escape"]:
                return "$" if found["escape"] == self._escape else found[0]
            name = str(found["plain"] or found["name"])
            known, word = self._variables.get(name), found["word"] or ""
            if found["operator"] == "+":
                return word if known else ""
            if known or (known is not None and not found["operator"]):
                return known
            if found["operator"] == "-":
                return word
            if strict:
                raise ValueError(
                    tr(
                        "{keyword} uses ${name}, which has no value from an ARG or ENV above it",
                        keyword=keyword,
                        name=name,
                    )
                )
            return found[0]

        return _VARIABLE.sub(value, text)


def _instruction(line: int, text: str) -> Instruction:
    keyword, *rest = text.split(None, 1)
    return Instruction(line, keyword.upper(), rest[0].strip() if rest else "")


def _in_folder(source: str) -> str:
    """Return a source relative to the folder, which to Docker is the root of all paths."""
    root = re.match(r"(/|\.\.(/|$))(\.{0,2}(/|$))*", source)
    return source if root is None else source[root.end() :] or "."


def _refuse_here_documents(value: str) -> None:
    if re.search(r"(^|\s)<<-?['\"]?\w", value):
        raise ValueError(tr("here-documents are not supported by the platform; use a script file"))


def _json_list(value: str) -> list[str] | None:
    if not value.startswith("["):
        return None
    try:
        words = json.loads(value)
    except ValueError:
        return None
    return [str(word) for word in words] if isinstance(words, list) else None


def _quoted(path: str) -> str:
    return f'"{path}"' if " " in path else path
