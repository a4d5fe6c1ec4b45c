"""What a user passes to an agent: the input of a call, variables and headers."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from .errors import UsageError
from .messages import later, tr
from .output import screen

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INPUT_HINT: Final = later('Use --input "hello", --input @file or --input -')
_EXAMPLE: Final = """'{"prompt": "hello"}'"""
_LINE: Final = re.compile(r"(?:export\s+)?(?P<name>[^=\s]+)\s*=\s*(?P<value>.*)")


class Asked(dict[str, Any]):
    """A JSON object that is sent unchanged, with a time limit that is not part of it.

    Args:
        payload: The object to send.
        seconds: Time limit of the response; None for that of the payload, or the default.
    """

    def __init__(self, payload: dict[str, Any], seconds: float | None) -> None:
        super().__init__(payload)
        self._seconds = seconds

    def get(self, key: str, default: Any = None) -> Any:
        """Return a value as a dict does, except for the time limit, which the client reads under its key."""
        return self._seconds if key == "timeout" and self._seconds is not None else super().get(key, default)


def payload_of(given: str | None) -> dict[str, Any]:
    """Return the JSON object to send: an object unchanged, and any other text as `prompt`.

    Args:
        given: The text itself, `-` for standard input, `@path` for a file, `@@text` for text that begins with `@`;
            None for standard input if it is not a terminal.

    Raises:
        UsageError: There is no input, or it is not UTF-8.
    """
    text = _text_of(given)
    if not text.strip():
        raise UsageError(tr("The input is empty."), hint=tr(_INPUT_HINT))
    if not text.lstrip().startswith(("{", "[", '"')):
        return {"prompt": text}
    try:
        payload: Any = json.loads(text, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        if text.lstrip().startswith("{"):
            screen.warn(tr("the input looks like JSON but is not ({error}); it is sent as text.", error=error))
            if "{'" in text or re.search(r"{\s*\w+\s*:", text):
                screen.note(tr("JSON needs double quotes around names and strings: {example}", example=_EXAMPLE))
        return {"prompt": text}
    if not isinstance(payload, dict):
        screen.warn(tr('the input is JSON but not an object; it is sent as text, as {"prompt": "..."}.'))
        return {"prompt": text}
    return payload


def variables_of(given: Iterable[str] | None, file: Path | None) -> dict[str, str]:
    """Return variables for the agent's process; options take precedence over the file.

    Args:
        given: `NAME=VALUE`, or `NAME` alone for its value in this environment.
        file: Lines of `NAME=VALUE`, with comments, `export` and quotes.

    Raises:
        UsageError: A name or a line is invalid, or the file cannot be read. No value is shown.
    """
    variables = {} if file is None else _from_file(file)
    for one in given or ():
        name, has_value, value = one.partition("=")
        if not has_value:
            if name not in os.environ:
                raise UsageError(
                    tr(
                        "--env {name} passes the value of {name}, which is not set here; use {name}=VALUE.",
                        name=name,
                    )
                )
            value = os.environ[name]
        variables[_checked(name, "--env")] = value
    return variables


def headers_of(given: Iterable[str] | None) -> dict[str, str]:
    """Return headers to send, each given as `Name: value`, as with curl.

    Raises:
        UsageError: One has no colon. No value is shown.
    """
    headers = {}
    for one in given or ():
        name, colon, value = one.partition(":")
        if not colon:
            raise UsageError(
                tr("The header that begins with {text!r} has no colon.", text=one[:20]),
                hint=tr("Write: {example}", example="-H 'X-Tenant: a'"),
            )
        headers[name.strip()] = value.strip()
    return headers


def _text_of(given: str | None) -> str:
    if given is None and sys.stdin.isatty():
        raise UsageError(tr("There is no input."), hint=tr(_INPUT_HINT))
    if given is None or given == "-":
        return _decoded(sys.stdin.buffer.read(), tr("standard input"))
    if given.startswith("@@"):
        given = given[1:]
    elif given.startswith("@"):
        return _decoded(_read(Path(given[1:]), hint=tr("To send text that begins with @, type two: @@")), given[1:])
    return _decoded(os.fsencode(given), "--input", whole=True)


def _decoded(data: bytes, source: str, *, whole: bool = False) -> str:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            tr(
                "{source} is not UTF-8: byte {position} is 0x{byte:02x}.",
                source=source,
                position=error.start,
                byte=data[error.start],
            )
        ) from error
    return text if whole else text.removesuffix("\n").removesuffix("\r")


def _read(path: Path, *, hint: str | None = None) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(
            tr("{path} cannot be read: {reason}.", path=path, reason=error.strerror or error), hint=hint
        ) from error


def _from_file(path: Path) -> dict[str, str]:
    variables = {}
    for number, raw in enumerate(_decoded(_read(path), str(path)).splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = _LINE.fullmatch(line)
        if found is None:
            raise UsageError(tr("line {line} of {path} is not NAME=VALUE.", path=path, line=number))
        variables[_checked(found["name"], f"{path}:{number}:")] = _unquoted(found["value"])
    return variables


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] in "'\"" and value.endswith(value[0]):
        return value[1:-1]
    return re.split(r"\s+#", value, maxsplit=1)[0].rstrip()


def _checked(name: str, where: str) -> str:
    if not _NAME.fullmatch(name):
        raise UsageError(
            tr("{where} {name!r} is not a valid name of a variable; write NAME=VALUE.", where=where, name=name)
        )
    return name


def _refuse_constant(name: str) -> float:
    raise ValueError(tr("{value} is not JSON", value=name))
