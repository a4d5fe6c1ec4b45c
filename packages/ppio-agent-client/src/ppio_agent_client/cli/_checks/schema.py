"""The manifest: can it be read, is every field right, and is there one that nobody knows."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, Final

from ppio_agent_models import AgentManifest, ConfigurationError

from .findings import Finding, error, warning

if TYPE_CHECKING:
    from pydantic import BaseModel

_LINE: Final = re.compile(r", line (\d+) (.*)", re.DOTALL)
_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SEMVER: Final = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")

Lines = dict[tuple[str, ...], int]


def check_schema(file: str, text: str, lines: Lines, document: Any) -> Iterator[Finding]:
    """Yield what is wrong with a manifest.

    Args:
        file: What to call it.
        text: What is in it.
        lines: The line of every key; empty when a YAML library cannot read it.
        document: What a YAML library reads in it.
    """
    from pydantic import ValidationError

    try:
        manifest = AgentManifest.from_yaml(text, source=file)
    except ConfigurationError as problem:
        if isinstance(problem.__cause__, ValidationError):
            for fault in problem.__cause__.errors():
                yield _fault(file, lines, fault)
        else:
            place = _LINE.search(str(problem))
            line, words = (int(place[1]), f"the line {place[2]}") if place else (1, str(problem))
            yield error("yaml", file, line, words)
        manifest = None
    if isinstance(document, dict):
        yield from _unknown(file, lines, AgentManifest, document, ())
    if manifest is not None:
        yield from _advice(file, lines, manifest)


def line_of(lines: Lines, path: Sequence[str]) -> int:
    """Return the line of a key, or of what is around it where there is no such key."""
    known = tuple(path)
    while known and known not in lines:
        known = known[:-1]
    return lines.get(known, 1)


def _fault(file: str, lines: Lines, fault: Any) -> Finding:
    path = [str(part) for part in fault["loc"]]
    name = ".".join(path) or "the file"
    words = "is missing" if fault["type"] == "missing" else f"is wrong: {fault['msg']}"
    return error("schema", file, line_of(lines, path), f"{name} {words}")


def _unknown(
    file: str, lines: Lines, model: type[BaseModel], document: dict[Any, Any], path: tuple[str, ...]
) -> Iterator[Finding]:
    fields = _fields(model)
    for key, value in document.items():
        here = (*path, str(key))
        if key not in fields:
            near = get_close_matches(str(key), fields, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known here: {', '.join(sorted(fields))}"
            yield warning("unknown-key", file, line_of(lines, here), f"nobody reads {'.'.join(here)!r}{hint}")
        elif isinstance(value, dict) and (inner := fields[key]) is not None:
            yield from _unknown(file, lines, inner, value, here)


def _fields(model: type[BaseModel]) -> dict[str, type[BaseModel] | None]:
    """Return the keys that a model reads, as people write them, with the model of what is below."""
    from pydantic import BaseModel

    found: dict[str, type[BaseModel] | None] = {}
    for name, field in model.model_fields.items():
        kind = field.annotation
        inner = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        found[field.serialization_alias or name] = inner
        if field.serialization_alias:
            found[name] = inner
    return found


def _advice(file: str, lines: Lines, manifest: AgentManifest) -> Iterator[Finding]:
    who = manifest.metadata
    if not _SEMVER.fullmatch(who.version):
        line = line_of(lines, ("metadata", "version"))
        yield warning("schema", file, line, f"metadata.version is {who.version!r}; the platform wants one like 1.0.0")
    if who.author is None or not _ADDRESS.fullmatch(who.author):
        line = line_of(lines, ("metadata", "author"))
        what = "is not set" if who.author is None else "is no e-mail address"
        yield warning("schema", file, line, f"metadata.author {what}; the platform's own tools want an e-mail address")
    for name in manifest.spec.env_vars:
        if not _VARIABLE.fullmatch(name):
            line = line_of(lines, ("spec", "envVars", name))
            yield error("schema", file, line, f"spec.envVars has {name!r}, which cannot be the name of a variable")
