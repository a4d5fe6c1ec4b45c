"""Values that have to survive the way to an agent and back."""

from __future__ import annotations

from typing import Any, Final

VALUES: Final[list[Any]] = [
    None,
    True,
    2**80,
    -0.5,
    "",
    "Ünï cödé 代理 \U0001f600",
    "line\nbreak\r\nand \x00 and \u2028",
    "data: x\n\nevent: done\n\n",
    {"error": "not one", "error_type": "NotOne"},
    {"status": "success", "result": 1},
    [[[[]]], {"a": {}}],
    "x" * 300_000,
]
