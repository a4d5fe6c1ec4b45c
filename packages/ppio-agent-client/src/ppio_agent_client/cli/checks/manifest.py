"""Checks of the manifest: its fields, the size of the sandbox, and secrets in it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

from ppio_agent_models import AgentManifest, ConfigurationError, ManifestDocument

from ..deploy.plan import size_of
from ..messages import later, tr
from ..project import about_unknown
from . import Finding, error, warning

_VARIABLE: Final = re.compile(r"[A-Za-z_]\w*", re.ASCII)
_SEMVER: Final = re.compile(r"\d+\.\d+\.\d+([-+][0-9A-Za-z.+-]+)?")
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+")
_VALUES: Final = {
    later("a key of a model service"): re.compile(r"\bsk[-_][A-Za-z0-9_-]{16,}"),
    later("an AWS key"): re.compile(r"\b(AKIA|ASIA)[0-9A-Z]{16}\b"),
    later("a GitHub token"): re.compile(r"\b(gh[pousr]_[A-Za-z0-9]{30,}|github_pat_\w{30,})"),
    later("a Slack token"): re.compile(r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    later("a Google key"): re.compile(r"\bAIza[0-9A-Za-z_-]{35}"),
    later("a private key"): re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----"),
    later("a signed token"): re.compile(r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\."),
    later("a password in an address"): re.compile(r"://[^/\s:@]*:[^/\s@]+@"),
}
_ENTRY: Final = re.compile(r"""^\s*(?:- )?["']?(?P<key>[\w.-]+)["']?\s*:\s+(?P<value>[^#\s].*)$""")
_WORDS: Final = {"apikey", "credential", "credentials", "key", "passphrase", "passwd", "password", "secret", "token"}
_HARMLESS: Final = {"public", "name", "file", "path", "id", "max", "limit", "count"}
_PLACEHOLDER: Final = re.compile(
    r"""["']?(\$\{.*|<.*>|\d+|true|false|null|~|\{\}|\[\]|)["']?\s*(#.*)?""", re.IGNORECASE
)
_BETWEEN_WORDS: Final = re.compile(r"[_.-]|(?<=[a-z])(?=[A-Z])")


def check_schema(file: str, document: ManifestDocument) -> Iterator[Finding]:
    """Yield what is wrong with the fields of a manifest.

    Args:
        file: Its name in the findings.
        document: Its content.
    """
    from pydantic import ValidationError

    for field in document.unknown_fields():
        yield warning("unknown-key", file, field.line, about_unknown(field))
    try:
        manifest = AgentManifest.model_validate(document.value)
    except ValidationError as problem:
        for fault in problem.errors():
            yield _fault(file, document, fault)
        return
    yield from _advice(file, document, manifest)


def _fault(file: str, document: ManifestDocument, fault: Any) -> Finding:
    path = [str(part) for part in fault["loc"]]
    name = ".".join(path) or tr("the file")
    missing = fault["type"] == "missing"
    text = tr("{field} is missing", field=name) if missing else _wrong(name, fault["msg"])
    return error("schema", file, document.line_of(path), text)


def _wrong(field: str, reason: str) -> str:
    return tr("{field} is wrong: {reason}", field=field, reason=reason)


def _advice(file: str, document: ManifestDocument, manifest: AgentManifest) -> Iterator[Finding]:
    who = manifest.metadata
    if not _SEMVER.fullmatch(who.version):
        line = document.line_of(("metadata", "version"))
        yield warning(
            "schema",
            file,
            line,
            tr("metadata.version is {version!r}; the platform expects a version such as 1.0.0", version=who.version),
        )
    if who.author is None or not _ADDRESS.fullmatch(who.author):
        line = document.line_of(("metadata", "author"))
        if who.author is None:
            text = tr("metadata.author is not set; the platform's own tools expect an e-mail address")
        else:
            text = tr("metadata.author is not an e-mail address, which the platform's own tools expect")
        yield warning("schema", file, line, text)
    for name in manifest.spec.env_vars:
        if not _VARIABLE.fullmatch(name):
            line = document.line_of(("spec", "envVars", name))
            yield error(
                "schema",
                file,
                line,
                tr("spec.envVars has {name!r}, which is not a valid name of a variable", name=name),
            )


def check_size(file: str, document: ManifestDocument, manifest: AgentManifest) -> Iterator[Finding]:
    """Yield an error if the platform has no sandbox of the size that a manifest requests."""
    runtime = manifest.spec.runtime
    try:
        size_of(runtime.cpu_limit, runtime.memory_limit)
    except ConfigurationError as problem:
        field = "cpu_limit" if "spec.runtime.cpu_limit" in str(problem) else "memory_limit"
        yield error("size", file, document.line_of(("spec", "runtime", field)), str(problem))


def check_secrets(file: str, text: str) -> Iterator[Finding]:
    """Yield each line of a manifest that has, or seems to have, a secret in it."""
    for number, line in enumerate(text.splitlines(), 1):
        kinds = [kind for kind, pattern in _VALUES.items() if pattern.search(line)]
        entry = _ENTRY.match(line)
        if kinds and entry:
            text = tr("{field} is {secret}; pass it with --env instead", field=entry["key"], secret=tr(kinds[0]))
            yield error("secret", file, number, text)
        elif kinds:
            text = tr("this line has {secret}; pass it with --env instead", secret=tr(kinds[0]))
            yield error("secret", file, number, text)
        elif entry and _has_the_name_of_one(entry["key"]) and not _PLACEHOLDER.fullmatch(entry["value"]):
            text = tr("{field} looks like a secret; pass it with --env instead", field=entry["key"])
            yield warning("secret", file, number, text)


def _has_the_name_of_one(key: str) -> bool:
    words = {word.lower() for word in _BETWEEN_WORDS.split(key)}
    return bool(words & _WORDS) and not words & _HARMLESS
