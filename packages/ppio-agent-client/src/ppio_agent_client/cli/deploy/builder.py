"""The platform's builder, through the official SDK: starts and follows builds, and looks up earlier ones."""

from __future__ import annotations

import json
import logging
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any, Final, TypeVar

from ppio_agent_models import AuthenticationError, NetworkError, PlatformError, RateLimitedError, TotalTimeoutError

from ..errors import CommandError, UsageError
from ..messages import tr
from .plan import READY_COMMAND, Plan

_LOOK_SECONDS: Final = 0.3
_STATUS: Final = re.compile(r"(?P<code>[1-5]\d\d): (?P<text>.*)", re.DOTALL)
_ANSWER_SECONDS: Final = 60.0
"""Longest wait for a response, in seconds."""
_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
"""Pauses between retries of a request for a build's state, in seconds."""
_SERVER_ERROR: Final = 500
_OWN_STEPS: Final = 2
"""Steps that the SDK adds before those of a Dockerfile: a user and a folder."""

T = TypeVar("T")
Log = Callable[[str, str], None]
"""Receives the level and the text of a line."""


@dataclass(frozen=True, slots=True)
class Build:
    """A build on the platform."""

    template_id: str
    build_id: str
    name: str
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a build failed.

    Attributes:
        step: The number of the step, from 1; None if no step failed.
        log: The last lines of the step.
    """

    message: str
    step: int | None
    log: list[str]


def check_domain() -> None:
    """Check that templates can be built on the configured domain.

    Raises:
        UsageError: They cannot.
    """
    from ppio_sandbox.core.connection_config import DEFAULT_PPIO_API_URLS, ConnectionConfig

    config = ConnectionConfig()
    if config.is_legacy_domain:
        modern = next(iter(DEFAULT_PPIO_API_URLS))
        raise UsageError(
            tr(
                "Templates cannot be built on {domain}, an older domain of the platform and the default; PPIO_DOMAIN "
                "chooses another.",
                domain=config.domain,
            ),
            hint=tr(
                "Use the newer domain: PPIO_DOMAIN={domain} ppio-agent deploy\nOr deploy on this machine: --local",
                domain=modern,
            ),
        )


def exists(name: str) -> bool:
    """Return whether the platform has a template of this name, created by any tool."""
    from ppio_sandbox.core import Template

    with _translated():
        return _within(_ANSWER_SECONDS, lambda: bool(Template.exists(name)))


def begin(plan: Plan, log: Log, *, timeout: float) -> Build:
    """Send the files and start the build, which continues by itself.

    Raises:
        TotalTimeoutError: The files were not sent in time.
    """
    from ppio_sandbox.core import Template

    with _translated(), TemporaryDirectory(prefix="ppio-agent-") as folder:
        template = _template(plan, Path(folder))
        size: dict[str, Any] = {"cpu_count": plan.size.cpus, "memory_mb": plan.size.memory_mib}
        build = partial(Template.build_in_background, template, plan.agent.name, tags=plan.tags or None, **size)
        info = _within(timeout, lambda: build(on_build_logs=lambda entry: log(entry.level, entry.message)))
    return Build(info.template_id, info.build_id, info.name, tuple(info.tags))


def steps_of(plan: Plan) -> list[str]:
    """Return the steps in the order in which the platform numbers them."""
    with TemporaryDirectory(prefix="ppio-agent-") as folder:
        from ppio_sandbox.core import Template

        steps: list[dict[str, Any]] = json.loads(Template.to_json(_template(plan, Path(folder))))["steps"]
    return [f"{step['type']} {' '.join(filter(None, step['args']))}" for step in steps]


def line_of(plan: Plan, step: int) -> int | None:
    """Return the line of the Dockerfile that a step comes from; None for a step that is not in it."""
    number = step - _OWN_STEPS - 1
    instructions = plan.build.instructions
    return instructions[number].line or None if 0 <= number < len(instructions) else None


def is_running(build: Build) -> bool | None:
    """Return True if a build is running, None if it succeeded, False if it failed or is unknown."""
    try:
        status = _status(build, 0)
    except PlatformError:
        return False
    return None if status.status.value == "ready" else status.status.value in ("building", "waiting")


def follow(build: Build, log: Log, *, timeout: float) -> Failure | None:
    """Wait for the end of a build and pass its log to `log`; return None if it succeeded.

    Raises:
        TotalTimeoutError: It did not end in time; it continues.
    """
    deadline = time.monotonic() + timeout
    told = 0
    while True:
        status = _status_in_the_end(build, told)
        for entry in status.log_entries:
            log(entry.level, entry.message)
        told += len(status.log_entries)
        if status.log_entries:
            continue  # One response doesn't have all of a long log.
        if status.status.value == "ready":
            return None
        if status.status.value == "error":
            return _failure(status.reason)
        if time.monotonic() > deadline:
            raise TotalTimeoutError(
                tr(
                    "the build {build_id} did not end within {seconds:g} s; the platform continues it",
                    build_id=build.build_id,
                    seconds=timeout,
                )
            )
        time.sleep(_LOOK_SECONDS)


def _status_in_the_end(build: Build, offset: int) -> Any:
    """Request the state of a build, with retries after lost responses; the build is not affected."""
    for pause in _PAUSES_SECONDS:
        try:
            return _status(build, offset)
        except (NetworkError, RateLimitedError):
            time.sleep(pause)
        except PlatformError as error:
            if (error.status_code or 0) < _SERVER_ERROR:
                raise
            time.sleep(pause)
    return _status(build, offset)


def _status(build: Build, offset: int) -> Any:
    from ppio_sandbox.core import Template
    from ppio_sandbox.core.template.types import BuildInfo

    info = BuildInfo(template_id=build.template_id, build_id=build.build_id, name=build.name, alias=build.name)
    with _translated():
        return _within(_ANSWER_SECONDS, lambda: Template.get_build_status(info, logs_offset=offset))


def _within(seconds: float, call: Callable[[], T]) -> T:
    """Return the result of a call, with a time limit, which the official SDK doesn't have.

    Raises:
        TotalTimeoutError: It did not return in time; its thread continues until the program ends.
    """
    future: Future[T] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001  # raised where it is waited for
            future.set_exception(error)

    Thread(target=work, name="platform", daemon=True).start()
    try:
        return future.result(seconds)
    except TimeoutError as error:
        raise TotalTimeoutError(tr("the platform did not answer within {seconds:g} s", seconds=seconds)) from error


def _failure(reason: Any) -> Failure:
    if reason is None:
        return Failure(tr("the build failed; the platform gave no reason"), None, [])
    step = int(reason.step) if reason.step and str(reason.step).isdecimal() else None
    return Failure(reason.message, step, [entry.message for entry in reason.log_entries])


def _template(plan: Plan, folder: Path) -> Any:
    from ppio_sandbox.core import Template

    plan.context.put_into(folder, plan.manifest)
    template = Template(file_context_path=str(folder)).from_dockerfile(plan.build.text)
    start = plan.start_command
    return template.set_start_cmd(start, READY_COMMAND) if start else template


@contextmanager
def _translated() -> Iterator[None]:
    """Translate errors of the official SDK into ours, and silence its own log of them."""
    from ppio_sandbox.core import exceptions
    from ppio_sandbox.core.connection_config import ConnectionConfig

    logger = logging.getLogger("ppio_sandbox")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    try:
        yield
    except exceptions.AuthenticationException as error:
        raise AuthenticationError(tr("the platform refused the API key: {error}", error=error)) from error
    except exceptions.RateLimitException as error:
        raise RateLimitedError(tr("the platform is limiting the rate of requests: {error}", error=error)) from error
    except (exceptions.SandboxException, exceptions.BuildException) as error:
        found = _STATUS.fullmatch(str(error))
        status, text = (int(found["code"]), found["text"]) if found else (None, str(error))
        raise PlatformError(tr("the platform returned an error: {text}", text=text), status_code=status) from error
    except ValueError as error:
        raise CommandError(tr("The template cannot be built: {error}", error=error)) from error
    except Exception as error:
        if not type(error).__module__.startswith(("httpx", "httpcore")):
            raise
        kind = TotalTimeoutError if "Timeout" in type(error).__name__ else NetworkError
        reason = str(error) or type(error).__name__
        raise kind(
            tr(
                "the platform at {url} cannot be reached: {reason}",
                url=ConnectionConfig().api_url,
                reason=reason,
            )
        ) from error
