"""What the platform can give: the size of a sandbox, and the steps of a Dockerfile."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ppio_agent_models import ConfigurationError

from .._deploying.dockerfile import read_dockerfile
from .._deploying.sizes import size_of
from .findings import Finding, error, warning

if TYPE_CHECKING:
    from ppio_agent_models import AgentManifest, ManifestDocument

_DOCKERFILES: Final = ("ppio.Dockerfile", "Dockerfile")
_LINE: Final = re.compile(r", line (\d+): (.*)", re.DOTALL)


def check_size(file: str, document: ManifestDocument, manifest: AgentManifest) -> Iterator[Finding]:
    """Yield what keeps the platform from giving the sandbox that a manifest asks for."""
    runtime = manifest.spec.runtime
    try:
        size_of(runtime.cpu_limit, runtime.memory_limit)
    except ConfigurationError as problem:
        field = "cpu_limit" if "cpu_limit is" in str(problem) else "memory_limit"
        yield error("size", file, document.line_of(("spec", "runtime", field)), str(problem))


def check_dockerfile(folder: Path) -> Iterator[Finding]:
    """Yield what the platform cannot do in a Dockerfile; without one, that of `init` is used."""
    for name in _DOCKERFILES:
        if (folder / name).is_file():
            try:
                read_dockerfile((folder / name).read_text(encoding="utf-8-sig"), source=name)
            except (ConfigurationError, OSError, UnicodeDecodeError) as problem:
                place = _LINE.search(str(problem))
                yield error("dockerfile", name, int(place[1]) if place else 1, place[2] if place else str(problem))
            return
    yield warning("dockerfile", "Dockerfile", 1, "there is none; deploying uses the one that `ppio-agent init` writes")
