"""How fast is it? Our runtime and client against the bare minimum, and against peers.

    python -m tests.bench                    # all rows, a few minutes
    python -m tests.bench --peers            # with FastAPI, Starlette and the servers of other SDKs
    python -m tests.bench --only posts       # one group or row
    python -m tests.bench --growth           # how it grows with connections, streams, sessions
    python -m tests.bench --check            # exit 1 when a target is missed

A ratio is to the raw base in the same run: bare ASGI on uvicorn, bare asyncio for the client; in the group
`features` to the agent without the feature. For Linux. Nothing in here is a test: no timing decides whether tests pass.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from . import blocking_group, client_group, features_group, live_group, posts_group, start_group, streams_group
from .growth import grow
from .peers import PEERS, peers, version_of
from .report import Report
from .rows import GROUPS, Row

_RUN = {
    "posts": posts_group.run,
    "streams": streams_group.run,
    "blocking": blocking_group.run,
    "start": start_group.run,
    "client": client_group.run,
    "live": live_group.run,
    "features": features_group.run,
}


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", action="store_true", help=f"measure {', '.join(PEERS)} too")
    parser.add_argument("--only", action="append", default=[], metavar="NAME", help="a group or a row; may be repeated")
    parser.add_argument("--quick", action="store_true", help="one round of everything: does it work?")
    parser.add_argument("--rounds", type=int, default=3, help="bursts of each server in each row")
    parser.add_argument("--growth", action="store_true", help="measure the curves instead of the table")
    parser.add_argument("--check", action="store_true", help="exit 1 when a target is missed")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write (with --only or --growth: add) the figures as JSON"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw them as SVG; needs matplotlib")
    return parser.parse_args()


def main() -> int:
    """Measure, print, write; return the exit code."""
    options = arguments()
    rounds = 1 if options.quick else options.rounds
    adds = (options.growth or options.only) and options.json and options.json.exists()
    report = Report.read(options.json) if adds else Report()
    wanted: list[Row] = []
    if options.growth:
        report.growth = grow(rounds)
    else:
        others = peers() if options.peers else []
        report.facts |= {app.name: version_of(app) for app in others}
        wanted = [
            row
            for name, rows in GROUPS.items()
            for row in rows
            if not options.only or _is_chosen(name, [row], options.only)
        ]
        chosen = [name for name, rows in GROUPS.items() if not options.only or _is_chosen(name, rows, options.only)]
        for group in chosen:
            sys.stderr.write(f"measuring {group} ...\n")
            try:
                report.results |= _RUN[group]([app for app in others if group in PEERS[app.name].groups], rounds)
            except Exception as error:  # noqa: BLE001  # the other groups are still worth measuring
                sys.stderr.write(f"{group} failed: {error!r}\n")
    sys.stdout.write(report.text())
    if options.json:
        report.write(options.json)
    if options.plot:
        from .plot import draw  # needs matplotlib

        draw(report, options.plot)
    missed = report.missed() + [f"{row.key} (not measured)" for row in wanted if not report.results.get(row.key)]
    if options.check and missed:
        sys.stdout.write(f"\nMissed: {', '.join(missed)}\n")
        return 1
    return 0


def _is_chosen(group: str, rows: list[Row], only: list[str]) -> bool:
    return group in only or any(row.key in only for row in rows)


if __name__ == "__main__":
    sys.exit(main())
