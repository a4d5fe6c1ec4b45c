"""Everything is measured in rounds: all servers are up, each gets a short burst in turn, ratios stay within a round.

Slow noise, such as another job on the machine, hits a whole round and cancels; the figure is the median of the ratios.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from .servers import App, Server

T = TypeVar("T")


@dataclass(frozen=True)
class Figure:
    """One measured value: the median of its rounds, and their extremes."""

    value: float
    low: float
    high: float

    @staticmethod
    def of(values: Sequence[float]) -> Figure:
        """Return the figure of some rounds."""
        return Figure(statistics.median(values), min(values), max(values))


Rounds = dict[str, list[T]]
"""What was measured for each server, round by round."""


def measured(
    apps: Sequence[App], mode: str, measure: Callable[[Server], T], rounds: int, warm_up: Callable[[Server], object]
) -> Rounds[T]:
    """Start all apps with the handler `mode`, and measure each in turn, in another order every round."""
    return measured_each(apps, mode, {"": measure}, rounds, warm_up)[""]


def measured_each(
    apps: Sequence[App],
    mode: str,
    measures: Mapping[str, Callable[[Server], T]],
    rounds: int,
    warm_up: Callable[[Server], object],
) -> dict[str, Rounds[T]]:
    """The same for several measurements of the same servers; one that fails is named and left out."""
    found: dict[str, Rounds[T]] = {name: {app.name: [] for app in apps} for name in measures}
    with ExitStack() as stack:
        servers = [server for app in apps if (server := _started(stack, app, mode, warm_up)) is not None]
        for name, measure in measures.items():
            for number in range(rounds):
                for server in in_turn(servers, number):
                    try:
                        found[name][server.app.name].append(measure(server))
                    except Exception as error:  # noqa: BLE001  # a peer that fails under load is a finding too
                        sys.stderr.write(f"{server.app.name} {mode} {name}: {error}\n")
    return found


def in_turn(things: Sequence[T], number: int) -> list[T]:
    """Return them in the order of this round: each begins once."""
    first = number % max(1, len(things))
    return [*things[first:], *things[:first]]


def _started(stack: ExitStack, app: App, mode: str, warm_up: Callable[[Server], object]) -> Server | None:
    try:
        server = stack.enter_context(Server(app, mode))
        warm_up(server)
    except Exception as error:  # noqa: BLE001  # a peer that cannot do it is a finding too
        sys.stderr.write(f"{app.name} {mode} is left out: {error}\n")
        return None
    return server


def ratios(rounds: Rounds[T], base: str, value: Callable[[T], float]) -> dict[str, Figure]:
    """Return each server's ratio to the base, which must have been measured in every round."""
    found = {}
    for name, samples in rounds.items():
        if name != base and len(samples) == len(rounds[base]):
            pairs = zip(samples, rounds[base], strict=True)
            found[name] = Figure.of([value(sample) / value(reference) for sample, reference in pairs])
    return found
