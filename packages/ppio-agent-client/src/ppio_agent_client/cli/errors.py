"""Maps exceptions to exit codes and messages."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import typer

from ppio_agent_models import (
    AgentError,
    AuthenticationError,
    ConfigurationError,
    NotFoundError,
    PPIOAgentRuntimeError,
    SessionNotFoundError,
    TemplateNotFoundError,
)

from .help_texts import translated_error
from .messages import tr
from .output import screen

EXIT_OK: Final = 0
EXIT_FAILED: Final = 1
"""The agent or the platform failed, or a check found something."""
EXIT_USAGE: Final = 2
EXIT_NOT_FOUND: Final = 3
EXIT_ACCESS: Final = 4
EXIT_TIMEOUT: Final = 5
EXIT_ASKED: Final = 6
"""The agent waits for an answer, and no user was there to give it."""
EXIT_INTERRUPTED: Final = 130

_CODES: Final[dict[type[PPIOAgentRuntimeError], int]] = {
    ConfigurationError: EXIT_USAGE,
    AuthenticationError: EXIT_ACCESS,
    TemplateNotFoundError: EXIT_NOT_FOUND,
    SessionNotFoundError: EXIT_NOT_FOUND,
    NotFoundError: EXIT_NOT_FOUND,
    AgentError: EXIT_FAILED,
}
_STATUS_CODES: Final = {401: EXIT_ACCESS, 403: EXIT_ACCESS, 404: EXIT_NOT_FOUND}


class CommandError(Exception):
    """A command cannot continue; raised by commands themselves.

    Args:
        message: One sentence: what happened, to which thing, which limit.
        code: The exit code.
        hint: What to do next, such as a command to run.
        facts: Additional fields of the JSON document.
    """

    def __init__(
        self, message: str, *, code: int = EXIT_FAILED, hint: str | None = None, facts: dict[str, Any] | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.hint = hint
        self.facts: dict[str, Any] = facts or {}


class UsageError(CommandError):
    """The command was called with invalid arguments."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, code=EXIT_USAGE, hint=hint)


def run_reported(command: Callable[[], object]) -> int:
    """Run a command, report its errors, and return its exit code."""
    code = EXIT_OK
    try:
        command()
    except typer.Exit as end:
        code = end.exit_code
    except (KeyboardInterrupt, typer.Abort):
        code = EXIT_INTERRUPTED
        screen.note(tr("Interrupted."))
    except BrokenPipeError:
        _forget_streams()  # The reader of our output closed the pipe.
    except Exception as error:  # noqa: BLE001  # the outermost handler: reports every error
        code = exit_code(error)
        _tell(error, code)
    with suppress(OSError, ValueError):
        sys.stdout.flush()
    return code


def exit_code(error: BaseException) -> int:
    """Return the exit code of `error`."""
    if isinstance(error, CommandError):
        return error.code
    if isinstance(error, typer.TyperException):
        return EXIT_USAGE
    if isinstance(error, PPIOAgentRuntimeError):
        return _code_of_ours(error)
    return EXIT_TIMEOUT if isinstance(error, TimeoutError) else EXIT_FAILED


def _code_of_ours(error: PPIOAgentRuntimeError) -> int:
    """Return the exit code; all our timeout errors have `Timeout` in the name of their class or of a base class."""
    for kind, code in _CODES.items():
        if isinstance(error, kind):
            return code
    if any("Timeout" in kind.__name__ for kind in type(error).__mro__):
        return EXIT_TIMEOUT
    return _STATUS_CODES.get(error.status_code or 0, EXIT_FAILED)


def describe(error: Exception) -> None:
    """Report an error after which the command continues."""
    _tell(error, exit_code(error))


def _tell(error: Exception, code: int) -> None:
    if screen.debug:
        traceback.print_exception(error)
    message, hint = _words(error)
    if screen.as_json:
        screen.error_document({"error": _document(error, code, message, hint)})
        return
    screen.error(message)
    if hint:
        screen.note(hint)


def _words(error: Exception) -> tuple[str, str | None]:
    if isinstance(error, CommandError):
        return error.message, error.hint
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        help_line = f"{context.command_path} --help" if context else ""
        hint = tr("Try: {command}", command=help_line) if context else None
        return translated_error(error.format_message()), hint
    if isinstance(error, PPIOAgentRuntimeError):
        message = error.message or type(error).__name__
        if error.request_id and error.request_id not in message:
            message = tr("{message} (request {request_id})", message=message, request_id=error.request_id)
        return message, "\n".join(getattr(error, "__notes__", ())) or None
    if isinstance(error, OSError):
        return str(error.strerror or error) + (f": {error.filename}" if error.filename else ""), None
    return f"{type(error).__name__}: {error}", None if screen.debug else tr(
        "For the traceback, run it again with --debug."
    )


def _document(error: Exception, code: int, message: str, hint: str | None) -> dict[str, Any]:
    kind = error.error_type if isinstance(error, PPIOAgentRuntimeError) else type(error).__name__
    document: dict[str, Any] = {"message": message, "type": kind, "exit_code": code, "hint": hint}
    if isinstance(error, PPIOAgentRuntimeError):
        document |= {
            "message": error.message,
            "status_code": error.status_code,
            "request_id": error.request_id,
            "retry_after": error.retry_after,
            "retryable": error.retryable,
        }
    return document | getattr(error, "facts", {})


def _forget_streams() -> None:
    """Redirect standard output to the null device, so that the interpreter's final flush doesn't fail."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
