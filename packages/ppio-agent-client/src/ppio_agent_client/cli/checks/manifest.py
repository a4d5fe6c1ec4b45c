"""The manifest: is every field right, does the platform have such a sandbox, is there a secret in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ppio_agent_models import AgentManifest, ConfigurationError, ManifestDocument

from ..deploy.plan import size_of
from . import Finding, error, warning

_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SEMVER: Final = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
_VALUES: Final = {
    "a key of a model service": re.compile(r"\bsk[-_][A-Za-z0-9_-]{16,}"),
    "a key of AWS": re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    "a token of GitHub": re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    "a token of Slack": re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "a key of Google": re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    "a private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    "a signed token": re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."),
    "a password in an address": re.compile(r"://[^/\s:@]*:[^/\s@]+@"),
}
_ENTRY: Final = re.compile(r"""^\s*(?:- )?["']?(?P<key>[\w.-]+)["']?\s*:\s+(?P<value>[^#\s].*)$""")
_WORDS: Final = {"apikey", "credential", "credentials", "key", "passphrase", "passwd", "password", "secret", "token"}
_HARMLESS: Final = {"public", "name", "file", "path", "id", "max", "limit", "count"}
_PLACEHOLDER: Final = re.compile(
    r"""["']?(\$\{.*|<.*>|\d+|true|false|null|~|\{\}|\[\]|)["']?\s*(#.*)?""", re.IGNORECASE
)
_BETWEEN_WORDS: Final = re.compile(r"[_.-]|(?<=[a-z])(?=[A-Z])")
_ADVICE: Final = "; give it with --env instead"


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


def check_size(file: str, document: ManifestDocument, manifest: AgentManifest) -> Iterator[Finding]:
    """Yield what keeps the platform from giving the sandbox that a manifest asks for."""
    runtime = manifest.spec.runtime
    try:
        size_of(runtime.cpu_limit, runtime.memory_limit)
    except ConfigurationError as problem:
        field = "cpu_limit" if "cpu_limit is" in str(problem) else "memory_limit"
        yield error("size", file, document.line_of(("spec", "runtime", field)), str(problem))


def check_secrets(file: str, text: str) -> Iterator[Finding]:
    """Yield each line of a manifest that has a secret in it, or has the look of it."""
    for number, line in enumerate(text.splitlines(), 1):
        kinds = [kind for kind, pattern in _VALUES.items() if pattern.search(line)]
        entry = _ENTRY.match(line)
        where = f"{entry['key']} is" if entry else "this line has"
        if kinds:
            yield error("secret", file, number, f"{where} {kinds[0]}{_ADVICE}")
        elif entry and _has_the_name_of_one(entry["key"]) and not _PLACEHOLDER.fullmatch(entry["value"]):
            yield warning("secret", file, number, f"{entry['key']} looks like a secret{_ADVICE}")


def _has_the_name_of_one(key: str) -> bool:
    words = {word.lower() for word in _BETWEEN_WORDS.split(key)}
    return bool(words & _WORDS) and not words & _HARMLESS
