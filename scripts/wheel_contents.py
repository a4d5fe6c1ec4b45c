"""What is wrong inside a wheel or an sdist: stray files, missing ones, metadata that says too little."""

from __future__ import annotations

import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath
from typing import Final

from packaging.requirements import Requirement

MODELS: Final = "ppio-agent-models"
SOURCE_SUFFIXES: Final = {".py", ".html", ".css", ".js", ".lua", ".mjs", ".svg"}
TEMPLATES: Final = "ppio_agent_client/cli/_templates/"
"""What `ppio-agent init` writes: files of any kind."""
CATALOG: Final = "ppio_agent_client/cli/locale/zh/LC_MESSAGES/ppio_agent_client"
"""Chinese messages: `.po`, which people edit, in the sdist alone; `.mo`, which programs read, in both."""
BESIDE_THE_SOURCE: Final = {".gitignore", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"}
FIELDS: Final = ("Author", "Classifier", "Keywords", "License-Expression", "Project-URL", "Requires-Python", "Summary")
"""Of the metadata: what a page on an index is made of."""


def problems_of_wheel(package: str, path: Path, licence: bytes) -> Iterator[str]:
    """Yield what is wrong inside the wheel of a package, given the repository's licence."""
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        (metadata_name,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
        dist_info = metadata_name.split("/", maxsplit=1)[0]
        there = archive.read(f"{dist_info}/licenses/LICENSE") if f"{dist_info}/licenses/LICENSE" in names else b""
    yield from (f"stray file {name}" for name in names if _is_stray(name, package, dist_info))
    if f"{package}/py.typed" not in names:
        yield "no py.typed"
    if package == "ppio_agent_runtime" and f"{package}/console/static/index.html" not in names:
        yield "no console page"
    if package == "ppio_agent_client" and f"{CATALOG}.mo" not in names:
        yield "no Chinese messages"
    if there != licence:
        yield "no licence, or another one than the repository's"
    yield from _problems_of_metadata(metadata)


def _problems_of_metadata(metadata: Message) -> Iterator[str]:
    yield from (f"the metadata has no {field}" for field in FIELDS if not metadata[field])
    if len(str(metadata.get_payload()).split()) < 20:
        yield "README says next to nothing"
    required = [Requirement(text) for text in metadata.get_all("Requires-Dist", [])]
    name, version = metadata["Name"], metadata["Version"]
    siblings = [r for r in required if r.name.startswith("ppio-agent-") and r.name != name]  # extras name their own
    yield from (f"sibling is not pinned: {r}" for r in siblings if str(r.specifier) != f"=={version}")
    if name != MODELS and [r.name for r in siblings] != [MODELS]:
        yield f"requires {[r.name for r in siblings]} of its siblings, not the models alone"


def problems_of_sdist(package: str, path: Path) -> Iterator[str]:
    """Yield what is wrong inside the sdist of a package."""
    with tarfile.open(path) as archive:
        names = [name.split("/", maxsplit=1)[1] for name in archive.getnames()]
    source = f"src/{package}/"
    for name in names:
        known = _is_known(PurePosixPath(name.removeprefix("src/"))) or name == f"src/{CATALOG}.po"
        if name not in BESIDE_THE_SOURCE and not (name.startswith(source) and known):
            yield f"stray file {name} in the sdist"
    yield from (f"no {name} in the sdist" for name in ("LICENSE", "README.md") if name not in names)


def _is_stray(name: str, package: str, dist_info: str) -> bool:
    top, *_ = name.split("/", maxsplit=1)
    if top == dist_info:
        return False
    return top != package or not _is_known(PurePosixPath(name))


def _is_known(path: PurePosixPath) -> bool:
    is_source = path.suffix in SOURCE_SUFFIXES or path.name in ("py.typed", "LICENSE")
    return is_source or path.as_posix().startswith(TEMPLATES) or path.as_posix() == f"{CATALOG}.mo"
