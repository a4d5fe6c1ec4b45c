"""The names that a lazy package root exports, read from its source: to type checkers, and at run time."""

from __future__ import annotations

import ast
from pathlib import Path
from types import ModuleType


def names_for_type_checkers(package: ModuleType) -> dict[str, str]:
    """Return the names in the TYPE_CHECKING block, each with its module."""
    (block,) = (node for node in _source(package).body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    assert len(imports) == len(block.body)
    for node in imports:
        assert all(alias.asname == alias.name for alias in node.names), "`as` re-exports it under mypy --strict"
    return {alias.name: f"{'.' * node.level}{node.module}" for node in imports for alias in node.names}


def names_at_run_time(package: ModuleType) -> dict[str, str]:
    """Return the names in the table of modules, each with its module."""
    (table,) = (node for node in ast.walk(_source(package)) if isinstance(node, ast.Dict))
    modules: dict[str, tuple[str, ...]] = ast.literal_eval(table)
    names = [(name, module) for module, names in modules.items() for name in names]
    assert len(names) == len(dict(names)), "a name is in two modules"
    return dict(names)


def _source(package: ModuleType) -> ast.Module:
    assert package.__file__ is not None
    return ast.parse(Path(package.__file__).read_text(encoding="utf-8"))
