"""Lazy front doors: a package names what it exports, and imports a room when somebody first asks for it (PEP 562).

Importing pydantic costs more than answering a thousand requests, so no package of this project pays for it, or for any
other heavy library, before its first use.
"""

from __future__ import annotations

import sys
from importlib import import_module

TYPE_CHECKING = False  # what `typing` has, without its import
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def lazy_exports(
    package: str, rooms: Mapping[str, tuple[str, ...]]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Return `__getattr__`, `__dir__` and `__all__` for the front door of `package`.

    Args:
        package: The `__name__` of the package.
        rooms: Relative module name (`"._errors"`) to the public names that live there.
    """
    room_of = {name: room for room, names in rooms.items() for name in names}

    def __getattr__(name: str) -> object:
        room = room_of.get(name)
        if room is None:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value: object = getattr(import_module(room, package), name)
        setattr(sys.modules[package], name, value)
        return value

    def __dir__() -> list[str]:
        return sorted(room_of)

    return __getattr__, __dir__, sorted(room_of)
