"""Parses `requirements.txt` as pip does: encodings, line continuations, variables, options, folders and URLs.

The rules are those of `pip._internal.req.req_file` and `pip._internal.req.constructors` (pip 26), which are not public;
the tests compare the results.
"""

from __future__ import annotations

import codecs
import locale
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from optparse import OptionParser, Values
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn
from urllib.parse import urlsplit

from .messages import tr

if TYPE_CHECKING:
    from packaging.requirements import Requirement

REQUIREMENTS_FILE: Final = "requirements.txt"
_RUNTIME: Final = "ppio-agent-runtime"
_PACKAGES: Final = {"a2a": "a2a-sdk", "mcp": "mcp"}
"""Packages that protocols need besides the runtime, which has an extra with the name of each protocol."""
MODULES: Final = {"a2a": "a2a", "mcp": "mcp"}
"""Import names of these packages."""
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),  # Before UTF-16, whose byte order mark it begins with.
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CODING: Final = re.compile(rb"coding[:=]\s*([-\w.]+)")
_COMMENT: Final = re.compile(r"(^|\s+)#.*$")
_VARIABLE: Final = re.compile(r"\$\{([A-Z0-9_]+)\}")
_WEB: Final = re.compile(r"(https?|file):", re.IGNORECASE)
_SCHEME: Final = re.compile(r"https?|ftp|file|(bzr|git|hg|svn)\+\w+")
_ARCHIVE: Final = re.compile(r"\.(zip|whl|tar|tgz|tbz|txz|tlz|tar\.(gz|bz2|xz|lz|lzma))$", re.IGNORECASE)
_EXTRAS: Final = re.compile(r"(.+)(\[[^\]]+\])$")
_LISTS: Final = ("-r --requirement", "-c --constraint", "-e --editable", "-f --find-links", "--extra-index-url")
_VALUES: Final = (
    "-i --index-url --pypi-url", "--no-binary", "--only-binary", "--all-releases", "--only-final", "--trusted-host",
    "--use-feature", "--hash", "-C --config-setting --config-settings", "--global-option",
)  # fmt: skip
_FLAGS: Final = ("--no-index", "--prefer-binary", "--require-hashes", "--no-require-hashes", "--pre")


class Problem(NamedTuple):
    """Why pip refuses a line, in one sentence, and whether it does so on every machine."""

    text: str
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class Line:
    """What pip would install for a line, or why it would refuse it.

    Attributes:
        file: Its file, relative to the agent's folder.
        number: Its line number, from 1.
        text: The line, without comments and with its variables expanded.
        requirement: A requirement from an index or a URL; None for a path.
        path: A path on this machine; None for a requirement from elsewhere.
        problem: Why pip refuses it.
    """

    file: str
    number: int
    text: str
    requirement: Requirement | None = None
    path: str | None = None
    problem: Problem | None = None

    @property
    def name(self) -> str | None:
        """The normalized name of the package, if the line has it."""
        from packaging.utils import canonicalize_name

        return None if self.requirement is None else canonicalize_name(self.requirement.name)

    @property
    def applies_here(self) -> bool:
        """Whether its marker, if it has one, is true for this Python."""
        marker = None if self.requirement is None else self.requirement.marker
        return marker is None or marker.evaluate()


def read_requirements(folder: Path, file: str = REQUIREMENTS_FILE) -> Iterator[Line]:
    """Yield the lines of a requirements file that install something or are invalid, and those of included files.

    Args:
        folder: The agent's folder, in which pip runs.
        file: The file, relative to it.
    """
    yield from _read(folder, file, (), constraint=False)


def missing_for(protocols: Iterable[str], folder: Path) -> str | None:
    """Return the line that requirements.txt needs for an agent's protocols; None where nothing is missing.

    Args:
        protocols: The manifest's protocols; "all" means those whose packages are installed.
        folder: The agent's folder.
    """
    needed = sorted(set(protocols) & _PACKAGES.keys())
    found = [line for line in read_requirements(folder) if line.requirement is not None]
    extras = {
        extra for line in found if line.name == _RUNTIME and line.requirement for extra in line.requirement.extras
    }
    names = {line.name for line in found}
    missing = [name for name in needed if name not in extras and _PACKAGES[name] not in names]
    return f"{_RUNTIME}[{','.join(missing)}]" if missing else None


def _read(folder: Path, file: str, around: tuple[str, ...], *, constraint: bool) -> Iterator[Line]:
    try:
        text = _decoded((folder / file).read_bytes())
    except (OSError, UnicodeError, LookupError) as error:
        yield Line(file, 1, "", problem=Problem(tr("cannot be read: {reason}", reason=error)))
        return
    for number, line in _joined(text):
        try:
            wanted, options = _split(line)
        except ValueError as error:
            yield Line(
                file,
                number,
                line,
                problem=Problem(tr("pip cannot read {line!r}: {reason}", line=line[:60], reason=error)),
            )
            continue
        if wanted or options.editable:
            if not constraint:
                yield _line(folder, file, number, wanted or options.editable[0], editable=bool(options.editable))
            continue
        for other, is_constraint in [(options.requirement, constraint), (options.constraint, True)]:
            for name in other[:1]:
                yield from _other(folder, (file, number, line), name, around, constraint=is_constraint)


def _other(
    folder: Path, at: tuple[str, int, str], name: str, around: tuple[str, ...], *, constraint: bool
) -> Iterator[Line]:
    file, number, line = at
    if _WEB.match(name):
        return  # pip downloads it when it installs.
    path = os.path.normpath(os.path.join(os.path.dirname(file), name))  # noqa: PTH118, PTH120  # stays relative
    if path in (file, *around):
        yield Line(file, number, line, problem=Problem(tr("{file!r} includes itself, which pip refuses", file=name)))
    elif not (folder / path).is_file():
        yield Line(file, number, line, problem=_unless_variable(name, tr("there is no file {file!r}", file=name)))
    else:
        yield from _read(folder, path, (file, *around), constraint=constraint)


def _decoded(data: bytes) -> str:
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return data[len(mark) :].decode(encoding)
    for line in data.split(b"\n")[:2]:
        if line.startswith(b"#") and (found := _CODING.search(line)):
            return data.decode(found[1].decode("ascii"))
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        return data.decode(locale.getpreferredencoding(False))


def _joined(text: str) -> Iterator[tuple[int, str]]:
    """Yield logical lines, with the number of the first physical one: a trailing backslash joins two."""
    parts, first = list[str](), 0
    for number, raw in enumerate([*text.splitlines(), ""], 1):
        first = first if parts else number
        is_comment = _COMMENT.match(raw) is not None
        if raw.endswith("\\") and not is_comment:
            parts.append(raw.strip("\\"))
            continue
        line = _COMMENT.sub("", "".join([*parts, f" {raw}" if is_comment else raw])).strip()
        parts = []
        if line:
            yield first, _VARIABLE.sub(lambda found: os.environ.get(found[1]) or found[0], line)


class _Options(OptionParser):
    def error(self, msg: str) -> NoReturn:
        raise ValueError(msg)


def _split(line: str) -> tuple[str, Values]:
    """Split a line into a requirement and the options after it.

    Raises:
        ValueError: pip has no such option, or an option lacks its value.
    """
    words = line.split(" ")
    end = next((number for number, word in enumerate(words) if word.startswith("-")), len(words))
    parser = _Options(add_help_option=False)
    for names in _LISTS:
        parser.add_option(*names.split(), dest=names.split()[-1].lstrip("-"), action="append", default=[])
    for names in _VALUES:
        parser.add_option(*names.split())
    for name in _FLAGS:
        parser.add_option(name, action="store_true")
    options, _ = parser.parse_args(shlex.split(" ".join(words[end:])))
    return " ".join(words[:end]).strip(), options


def _line(folder: Path, file: str, number: int, wanted: str, *, editable: bool) -> Line:
    """Parse a requirement, as `install_req_from_line` and `install_req_from_editable` of pip do."""
    from packaging.markers import InvalidMarker, Marker
    from packaging.requirements import InvalidRequirement, Requirement

    is_url = _SCHEME.fullmatch(urlsplit(wanted).scheme) is not None
    place, marker = wanted, ""
    if not editable:
        place, _, marker = (part.strip() for part in wanted.partition("; " if is_url else ";"))
    reason = None
    try:
        condition = Marker(marker) if marker else None
        if is_url:
            unnamed = editable and not ("+" in place.partition(":")[0] and "#egg=" in place)
            if place.startswith("file:"):
                return Line(file, number, wanted, path=place)
            problem = Problem(tr("{url!r} after -e needs #egg= and a name", url=place)) if unnamed else None
            return Line(file, number, wanted, problem=problem)
        if (path := _path_in(folder, place, editable=editable)) is not None:
            return Line(file, number, wanted, path=path, problem=_problem_of(folder, path))
        found = Requirement(place)
        found.marker = found.marker or condition
        if not editable or _SCHEME.fullmatch(urlsplit(found.url or "").scheme):
            return Line(file, number, wanted, requirement=found)
        reason = tr("-e needs a folder")
    except InvalidMarker as error:
        reason = str(error).splitlines()[0]
    except InvalidRequirement as error:
        reason = str(error).splitlines()[0]
        if _looks_like_path(place):
            reason = tr("it looks like a folder, which does not exist")
        elif "=" in wanted and not re.search(r"[=<>~!]=|[<>]", wanted):
            reason = tr("a version needs ==")
    return Line(
        file,
        number,
        wanted,
        problem=_unless_variable(wanted, tr("pip cannot read {line!r}: {reason}", line=wanted[:60], reason=reason)),
    )


def _path_in(folder: Path, place: str, *, editable: bool) -> str | None:
    """Return the path, without extras, if pip reads a requirement as one, else None."""
    path = extras[1] if (extras := _EXTRAS.fullmatch(place)) else place
    if (_looks_like_path(place) or editable) and (folder / path).is_dir():
        return path
    if editable or not _ARCHIVE.search(path):
        return None
    before, at, _ = place.partition("@")
    return None if at and not _looks_like_path(before) and not (folder / path).is_file() else path


def _looks_like_path(text: str) -> bool:
    return os.sep in text or text.startswith(".")


def _problem_of(folder: Path, path: str) -> Problem | None:
    where = folder / path
    if where.is_dir() and not any((where / name).is_file() for name in ("pyproject.toml", "setup.py")):
        return Problem(tr("{path!r} is not a project: it has neither pyproject.toml nor setup.py", path=path))
    return None if where.exists() else _unless_variable(path, tr("there is no {path!r}", path=path))


def _unless_variable(text: str, problem: str) -> Problem:
    """Return a problem, uncertain if the text has a variable that is not set here but may be where pip runs."""
    unset = _VARIABLE.search(text)
    return (
        Problem(tr("the variable {variable} is not set here", variable=unset[1]), is_certain=False)
        if unset
        else Problem(problem)
    )
