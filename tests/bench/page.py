"""Writes the figures into docs/performance.md: `hatch run bench:page`.

Reads docs/performance/py311.json and the like, and rewrites what is between `<!-- figures -->` and `<!-- end -->`.
"""

from __future__ import annotations

from pathlib import Path

from .report import Report, shown
from .rounds import Figure
from .rows import GROUPS, Row

PAGE = Path(__file__).parents[2] / "docs" / "performance.md"
_BEGIN, _END = "<!-- figures -->\n", "<!-- end -->"
_TITLES = {
    "posts": "Requests",
    "streams": "Streams",
    "blocking": "Code that blocks",
    "start": "Start and memory",
    "client": "The client",
    "live": "Live streams and sandboxes",
    "features": "What a feature costs",
}


def main() -> None:
    """Rewrite the page."""
    reports = [Report.read(path) for path in sorted((PAGE.parent / "performance").glob("py*.json"))]
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    _, _, after = rest.partition(_END)
    PAGE.write_text(before + _BEGIN + "\n" + figures(reports) + _END + after, encoding="utf-8")


def figures(reports: list[Report]) -> str:
    """Return the tables with the peers of the first run, those with the peers of the others, and the curves."""
    parts = [f"{', '.join(f'{name} {value}' for name, value in report.facts.items())}.\n" for report in reports]
    for group, rows in GROUPS.items():
        parts.append(f"### {_TITLES[group]}\n\n{_table(rows, reports)}")
    parts += [_folded(report) for report in reports[1:] if len(report.servers()) > 1]
    parts += [_curves(report) for report in reports if report.growth]
    return "\n".join(parts) + "\n"


def _folded(report: Report) -> str:
    compared = [row for row in report.rows() if len(report.results[row.key]) > 1]
    python = _python(report)
    picture = f"![Ours and the peers on Python {python}](performance/py{python.replace('.', '')}.svg)"
    summary = f"<summary>The peers on Python {python}</summary>"
    return f"<details markdown>\n{summary}\n\n{picture}\n\n{_table(compared, [report])}\n</details>\n"


def _python(report: Report) -> str:
    return report.facts["python"].rpartition(".")[0]


def _table(rows: list[Row], reports: list[Report]) -> str:
    """Return a table of ours in each run, and of the peers in the first; rows that no run has are left out."""
    rows = [row for row in rows if any(report.results.get(row.key) for report in reports)]
    peers = {name: None for row in rows for name in reports[0].results.get(row.key, {}) if name != "ours"}
    names = ["", "target", *(f"Python {_python(report)}" for report in reports), *peers]
    lines = [_line(names), _line(["---", *["---:"] * (len(names) - 1)])]
    for row in rows:
        ours = [report.results.get(row.key, {}).get("ours") for report in reports]
        others = [reports[0].results.get(row.key, {}).get(name) for name in peers]
        unit = {"": "", "share": ""}.get(row.unit, f" {row.unit}")
        target = "" if row.target is None else f"{'≤' if row.at_most else '≥'} {row.target:g}{unit}"
        cells = [_cell(row, figure, unit) for figure in ours] + [_text(figure, unit) for figure in others]
        lines.append(_line([row.what, target, *cells]))
    return "\n".join(lines) + "\n"


def _cell(row: Row, figure: Figure | None, unit: str) -> str:
    text = _text(figure, unit)
    return f"**{text}** (missed)" if figure is not None and not row.is_met(figure) else f"**{text}**" if text else ""


def _text(figure: Figure | None, unit: str) -> str:
    return f"{shown(figure)}{unit}" if figure is not None else ""


def _curves(report: Report) -> str:
    parts = [f"### How it grows, Python {report.facts['python']}\n"]
    for subject, curves in report.growth.items():
        columns = list(dict.fromkeys(x for curve in curves.values() for x, _ in curve))
        has_axis = len(columns) > 1
        parts.append(_line([subject, *(f"{x:g}" if has_axis else "" for x in columns)]))
        parts.append(_line(["---", *["---:"] * len(columns)]))
        for name, curve in curves.items():
            found = dict(curve)
            parts.append(
                _line([name, *(f"{found[x]:,.0f}" if found[x] >= 100 else f"{found[x]:.3g}" for x in columns)])
            )
        parts.append("")
    return "\n".join(parts)


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
