"""Lazy exports: a package names what it exports, and imports a module when one of its names is first used (PEP 562).

Importing pydantic takes longer than answering a thousand requests, so no package of this project imports it, or any
other heavy library, before its first use.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # what `typing` has, without its import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_exports(
    package: str, modules: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for `package`.

    Args:
        package: The `__name__` of the package.
        modules: Relative module name (`"._errors"`) to the public names that live there.
    """
    module_of = {name: module for module, names in modules.items() for name in names}

    def __getattr__(name: str) -> object:
        module = module_of.get(name)
        if module is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(module, package), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted(module_of)

    return __getattr__, __dir__, sorted(module_of)
