"""The figures as SVG: one picture of the table, one of the curves."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from .report import Curve, Report

_SHOWN = ("post-c1", "post-c32", "post-c256", "sync-c32", "in-1mb", "out-1mb", "stream-1", "stream-100")
_COLOURS = ["#0b6e4f", "#8d99ae", "#5c677d", "#d08c60", "#bc4749", "#6a4c93", "#e9c46a"]


def draw(report: Report, path: Path) -> None:
    """Write the table's picture to `path`, and that of the curves beside it, as `<name>-growth.svg`."""
    mpl.rcParams["svg.hashsalt"] = "bench"  # the same figures make the same file
    mpl.rcParams["font.size"] = 9
    if report.results:
        _draw_table(report, path)
    if report.growth:
        _draw_growth(report, path.with_name(f"{path.stem}-growth.svg"))


def _draw_table(report: Report, path: Path) -> None:
    rows = [row for row in report.rows() if row.key in _SHOWN]
    if not rows:
        return
    servers = [name for name in report.servers() if any(name in report.results[row.key] for row in rows)]
    figure, axes = plt.subplots(figsize=(8, 0.9 + 0.6 * len(rows)), layout="constrained")
    height = 0.8 / len(servers)
    for number, server in enumerate(servers):
        places = [index + height * number for index in range(len(rows))]
        values = [found.value if (found := report.results[row.key].get(server)) else 0.0 for row in rows]
        bars = axes.barh(places, values, height * 0.9, label=server, color=_COLOURS[number % len(_COLOURS)])
        axes.bar_label(bars, [f"{value:.2g}" if value else "" for value in values], padding=2, fontsize=7)
    axes.axvline(1, color="black", linewidth=0.8, linestyle=":")
    axes.set_yticks([index + 0.4 - height / 2 for index in range(len(rows))], [row.what for row in rows])
    axes.set_xscale("log")
    axes.set_xlabel("ratio to bare ASGI on uvicorn; more is better")
    axes.invert_yaxis()
    axes.legend(fontsize=7)
    _save(figure, path)


def _draw_growth(report: Report, path: Path) -> None:
    subjects = [subject for subject in report.growth if " by " in subject]
    parts = next(curves for subject, curves in report.growth.items() if subject.startswith("a local sandbox"))
    figure, panels = plt.subplots(1, len(subjects) + 1, figsize=(4 * (len(subjects) + 1), 3), layout="constrained")
    for axes, subject in zip(panels, subjects, strict=False):
        _draw_curves(axes, subject, report.growth[subject])
    axes = panels[-1]
    left = 0.0
    for number, (name, curve) in enumerate(parts.items()):
        width = max(0.0, curve[0][1])
        axes.barh([0], [width], left=[left], label=f"{name} {width:.0f}", color=_COLOURS[number])
        left += width
    axes.set_yticks([])
    axes.set_ylim(-0.6, 1.2)  # room for the legend above the bar
    axes.set_xlabel("ms from create_session to the first answer")
    axes.legend(fontsize=7, loc="upper center", ncols=2)
    _save(figure, path)


def _draw_curves(axes: Axes, subject: str, curves: dict[str, Curve]) -> None:
    what, _, by = subject.partition(" by ")
    for number, (name, curve) in enumerate(reversed(curves.items())):
        axes.plot([x for x, _ in curve], [y for _, y in curve], marker="o", label=name, color=_COLOURS[number])
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel(by)
    axes.set_ylabel(what)
    axes.legend(fontsize=7)


def _save(figure: object, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None})  # type: ignore[attr-defined]  # matplotlib's Figure
    plt.close(figure)  # type: ignore[arg-type]
