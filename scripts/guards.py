"""Writes down what others rely on, so that a change shows in a diff: public names, signatures, the OpenAPI document.

python scripts/guards.py           # writes tests/guards
python scripts/guards.py --check   # only compares
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import griffe
from pydantic import BaseModel

from ppio_agent_runtime import PPIOAgentRuntimeApp

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "tests" / "guards"
SOURCES: Final = [ROOT / "packages" / f"ppio-agent-{name}" / "src" for name in ("models", "runtime", "client")]
MODULES: Final = {
    "models": ("ppio_agent_models",),
    "runtime": (
        "ppio_agent_runtime",
        "ppio_agent_runtime.frameworks",
        "ppio_agent_runtime.testing",
        "ppio_agent_runtime.compat.bedrock_agentcore",
        "ppio_agent_runtime.compat.ppio_sandbox",
    ),
    "client": ("ppio_agent_client", "ppio_agent_client.testing"),
}
"""What documents tell users to import, by package."""
PROTOCOLS: Final = {
    *("__init__", "__call__", "__iter__", "__next__", "__enter__", "__exit__"),
    *("__aiter__", "__anext__", "__aenter__", "__aexit__"),
}
"""What users call without writing it."""


class Question(BaseModel):
    """The payload of the agent that has the OpenAPI document."""

    prompt: str
    temperature: float = 0.5


class Outline:
    """The public names of some modules as lines of text, read from source: no Python version writes others."""

    def __init__(self, modules: tuple[str, ...]) -> None:
        self._loader = griffe.GriffeLoader(search_paths=SOURCES)
        for source in SOURCES:
            self._loader.load(next(source.glob("ppio_agent_*")).name)
        self._loader.resolve_aliases(external=False)
        self._modules = {path: self._loader.modules_collection[path] for path in modules}
        self._exported = {
            _target(module.members[name]).path for module in self._modules.values() for name in public_names(module)
        }

    def lines(self) -> Iterator[str]:
        """Yield the modules, each with its names in alphabetical order."""
        for path, module in self._modules.items():
            yield f"# {path}"
            for name in sorted(public_names(module)):
                yield ""
                yield from self._name(path.partition(".")[0], name, module)
            yield ""

    def _name(self, package: str, name: str, module: griffe.Module) -> Iterator[str]:
        found = _target(module.members[name])
        if not found.path.startswith(f"{package}."):
            yield f"{name} = {found.path.split('.')[0]}.{found.name}"
        elif isinstance(found, griffe.Class):
            yield from self._class(name, found)
        else:
            yield from _member(name, found)

    def _class(self, name: str, found: griffe.Class) -> Iterator[str]:
        bases = ", ".join(self._bases(found))
        yield f"class {name}({bases})" if bases else f"class {name}"
        members = self._members(found)
        for member_name in sorted(members):
            yield from (f"    {line}" for line in _member(member_name, members[member_name]))

    def _members(self, found: griffe.Class) -> dict[str, griffe.Object]:
        """Return what a class has, with what it inherits from classes that have no public name."""
        own = {name: _target(member) for name, member in found.members.items() if _is_public(name, member)}
        for base in found.resolved_bases:
            if isinstance(base, griffe.Class) and base.path not in self._exported:
                own = self._members(base) | own
        return own

    def _bases(self, found: griffe.Class) -> Iterator[str]:
        """Yield its bases, for those without a public name theirs."""
        ours = {_target(base).path: _target(base) for base in found.resolved_bases}
        for base in found.bases:
            path = base if isinstance(base, str) else base.canonical_path
            inner = ours.get(path)
            if isinstance(inner, griffe.Class) and path not in self._exported:
                yield from self._bases(inner)
            else:
                yield str(base)


def public_names(module: griffe.Module) -> list[str]:
    """Return what a module exports: `__all__` of a lazy root is its TYPE_CHECKING block, as tests hold."""
    if module.exports is not None:
        return [str(name) for name in module.exports]
    imports = {name for name, member in module.members.items() if member.is_alias}
    if module.is_init_module and "lazy_exports" in imports:
        return [name for name in module.members if name in imports - {"lazy_exports", "__version__"}]
    return [name for name, member in module.members.items() if _is_public(name, member) and not member.is_module]


def _target(member: griffe.Object | griffe.Alias) -> griffe.Object:
    return member.final_target if isinstance(member, griffe.Alias) else member


def _is_public(name: str, member: griffe.Object | griffe.Alias) -> bool:
    if name in PROTOCOLS:  # what is hidden from type checkers, to explain a mistake, has no annotations
        return isinstance(member, griffe.Function) and member.returns is not None
    return not name.startswith("_") and not member.is_alias


def _member(name: str, found: griffe.Object) -> Iterator[str]:
    if isinstance(found, griffe.Function):
        overloads = found.parent.overloads.get(name) if isinstance(found.parent, griffe.Class | griffe.Module) else None
        yield from (_signature(name, variant) for variant in overloads or [found])
    elif isinstance(found, griffe.Attribute):
        yield _attribute(name, found)


def _signature(name: str, function: griffe.Function) -> str:
    kind = next((kind for kind in ("classmethod", "staticmethod") if kind in function.labels), "")
    words = [kind, "async" if "async" in function.labels else "", "def"]
    return f"{' '.join(word for word in words if word)} {function.signature(return_type=True, name=name)}"


def _attribute(name: str, found: griffe.Attribute) -> str:
    kind = "property " if "property" in found.labels else ""
    settable = " (settable)" if "writable" in found.labels else ""
    annotation = f": {found.annotation}" if found.annotation is not None else ""
    is_default = found.value is not None and found.labels != {"instance-attribute"}  # what __init__ assigns is none
    value = f" = {found.value}" if is_default else ""
    return f"{kind}{name}{annotation}{value}{settable}"


def openapi() -> str:
    """Return the OpenAPI document of an agent with a typed payload."""
    app = PPIOAgentRuntimeApp()

    @app.entrypoint
    def answer(question: Question) -> str:
        return question.prompt

    document: dict[str, Any] = app.fastapi.openapi()
    document["info"]["version"] = "VERSION"
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def wanted() -> dict[Path, str]:
    """Return the content of each file, by its path."""
    files: dict[str, Callable[[], str]] = {
        f"api-{name}.txt": lambda modules=modules: "\n".join(Outline(modules).lines())  # type: ignore[misc]
        for name, modules in MODULES.items()
    }
    return {FOLDER / name: make() for name, make in (files | {"openapi.json": openapi}).items()}


def differences() -> list[str]:
    """Return the lines of a unified diff between the files and what they should be."""
    lines: list[str] = []
    for path, text in wanted().items():
        there = path.read_text(encoding="utf-8") if path.exists() else ""
        name = path.relative_to(ROOT).as_posix()
        lines += difflib.unified_diff(there.splitlines(), text.splitlines(), name, f"{name}, made now", lineterm="")
    return lines


def main(arguments: list[str]) -> int:
    """Write the files, or with `--check` only compare."""
    if arguments == ["--check"]:
        different = differences()
        print("\n".join(different) or "the guards are as reviewed")
        return 1 if different else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    FOLDER.mkdir(exist_ok=True)
    for path, text in wanted().items():
        path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
