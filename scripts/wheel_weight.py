"""What an installation of a wheel weighs: distributions and megabytes, without extras and with each."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import Distribution, distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import NormalizedName, canonicalize_name

Installed = Mapping[NormalizedName, Distribution]
"""The distributions of an environment, by name."""
_OF_EVERY_ENVIRONMENT = {"pip", "setuptools", "wheel"}


def installed_in(site: str) -> Installed:
    """Return what is installed in a folder of packages, without what every environment has."""
    found = {canonicalize_name(distribution.name): distribution for distribution in distributions(path=[site])}
    return {name: distribution for name, distribution in found.items() if name not in _OF_EVERY_ENVIRONMENT}


def closure(requirement: str, installed: Installed) -> set[NormalizedName]:
    """Return what a requirement such as `limits[redis]` brings, itself included, as far as it is installed."""
    found: set[tuple[NormalizedName, str]] = set()
    waiting = [Requirement(requirement)]
    while waiting:
        current = waiting.pop()
        name = canonicalize_name(current.name)
        new = {(name, extra) for extra in ("", *current.extras)} - found
        if name not in installed:
            continue
        found |= new
        for needed in map(Requirement, installed[name].requires or []):
            marker = needed.marker
            if any(marker is None or marker.evaluate({"extra": extra}) for _, extra in new):
                waiting.append(needed)
    return {name for name, _ in found}


def megabytes(names: Iterable[NormalizedName], installed: Installed) -> float:
    """Return how much the files of these distributions have, in MB."""
    return sum(_size_of(installed[name]) for name in names) / 1e6


def _size_of(distribution: Distribution) -> int:
    places = (Path(str(distribution.locate_file(file))) for file in distribution.files or [])
    return sum(place.stat().st_size for place in places if place.is_file())
