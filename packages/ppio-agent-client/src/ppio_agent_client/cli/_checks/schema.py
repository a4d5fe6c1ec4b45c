"""The manifest: is every field right, and is there one that nobody knows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ppio_agent_models import AgentManifest, ManifestDocument

from .findings import Finding, error, warning

_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SEMVER: Final = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")


def check_schema(file: str, document: ManifestDocument) -> Iterator[Finding]:
    """Yield what is wrong with the fields of a manifest.

    Args:
        file: What to call it.
        document: What is written in it.
    """
    from pydantic import ValidationError

    for field in document.unknown_fields():
        yield warning("unknown-key", file, field.line, str(field))
    try:
        manifest = AgentManifest.model_validate(document.value)
    except ValidationError as problem:
        for fault in problem.errors():
            yield _fault(file, document, fault)
        return
    yield from _advice(file, document, manifest)


def _fault(file: str, document: ManifestDocument, fault: Any) -> Finding:
    path = [str(part) for part in fault["loc"]]
    name = ".".join(path) or "the file"
    words = "is missing" if fault["type"] == "missing" else f"is wrong: {fault['msg']}"
    return error("schema", file, document.line_of(path), f"{name} {words}")


def _advice(file: str, document: ManifestDocument, manifest: AgentManifest) -> Iterator[Finding]:
    who = manifest.metadata
    if not _SEMVER.fullmatch(who.version):
        line = document.line_of(("metadata", "version"))
        yield warning("schema", file, line, f"metadata.version is {who.version!r}; the platform wants one like 1.0.0")
    if who.author is None or not _ADDRESS.fullmatch(who.author):
        line = document.line_of(("metadata", "author"))
        what = "is not set" if who.author is None else "is no e-mail address"
        yield warning("schema", file, line, f"metadata.author {what}; the platform's own tools want an e-mail address")
    for name in manifest.spec.env_vars:
        if not _VARIABLE.fullmatch(name):
            line = document.line_of(("spec", "envVars", name))
            yield error("schema", file, line, f"spec.envVars has {name!r}, which cannot be the name of a variable")
