"""What was measured, as text for people and as JSON for everything else."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from .rounds import Figure
from .rows import GROUPS, Results, Row

Curve = list[tuple[float, float]]
Growth = dict[str, dict[str, Curve]]
"""Curves by subject and line; a subject without an axis has one point for each line."""


def _now() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "uvicorn": version("uvicorn"),
        "runtime": version("ppio-agent-runtime"),
    }


@dataclass
class Report:
    """The figures of one run."""

    results: Results = field(default_factory=dict)
    growth: Growth = field(default_factory=dict)
    facts: dict[str, str] = field(default_factory=_now)

    @staticmethod
    def read(path: Path) -> Report:
        """Return what `write` has written."""
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        results = {
            row: {server: Figure(**figure) for server, figure in figures.items()}
            for row, figures in data["results"].items()
        }
        return Report(results, data["growth"], data["facts"])

    def write(self, path: Path) -> None:
        """Write everything as JSON."""
        results = {
            row: {server: asdict(figure) for server, figure in figures.items()} for row, figures in self.results.items()
        }
        data = {"facts": self.facts, "results": results, "growth": self.growth}
        path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")

    def rows(self) -> list[Row]:
        """Return the rows that have figures, in order."""
        return [row for rows in GROUPS.values() for row in rows if self.results.get(row.key)]

    def servers(self) -> list[str]:
        """Return whose figures there are, ours first."""
        names = {server: None for row in self.rows() for server in self.results[row.key]}
        return sorted(names, key=lambda name: name != "ours")

    def missed(self) -> list[str]:
        """Return the rows whose target is missed, with figure and target."""
        return [
            f"{row.key} {ours.value:.3g} ({'<=' if row.at_most else '>='} {row.target:g})"
            for row in self.rows()
            if (ours := self.results[row.key].get("ours")) is not None and row.target and not row.is_met(ours)
        ]

    def text(self) -> str:
        """Return tables for a terminal."""
        servers = self.servers()
        lines = [", ".join(f"{name} {value}" for name, value in self.facts.items()), ""]
        head = f"{'row':22}{'unit':6}{'target':>9}" + "".join(f"{name:>14}" for name in servers)
        lines.append(head + f"{'low - high':>18}")
        for row in self.rows():
            figures = self.results[row.key]
            target = "" if row.target is None else f"{'<=' if row.at_most else '>='} {row.target:g}"
            cells = "".join(f"{shown(figures.get(name)):>14}" for name in servers)
            ours = figures.get("ours")
            spread = "" if ours is None else f"{ours.low:.3g} - {ours.high:.3g}"
            miss = "" if ours is None or row.is_met(ours) else "  missed"
            lines.append(f"{row.key:22}{row.unit or 'ratio':6}{target:>9}{cells}{spread:>18}{miss}")
        for subject, curves in self.growth.items():
            lines += ["", subject]
            for name, curve in curves.items():
                lines.append(f"  {name:28}" + "  ".join(f"{x:g}: {y:.4g}" for x, y in curve))
        return "\n".join(lines) + "\n"


def shown(figure: Figure | None) -> str:
    """Return a figure in three digits; nothing for none."""
    return "" if figure is None else f"{figure.value:.3g}"
