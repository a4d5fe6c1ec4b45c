"""The first milliseconds of a supervisor: it leaves its creator, starts the agent, and says so.

Its environment is the agent's; its standard input keeps the agent's port from others, its standard output is a pipe to
the creator, its standard error a file. What comes after the start, and needs slower imports, is `watch`.
"""

from __future__ import annotations

import os
import signal
import sys

from . import bell, processes
from .logs import open_log
from .names import APP_FOLDER, LOG_FILE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .records import Agent

STARTED = "started"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main(directory: str, command: Sequence[str]) -> None:
    """Start `command` in the sandbox and stay until it has ended.

    The process that the creator started ends at once, so that the creator has nobody to reap; its child goes on. On
    standard output come `started`, the supervisor's and the agent's id, start mark and session, or one line of error.
    """
    if os.fork():
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # The creator's thread may have blocked some; that is inherited.
    ringing = bell.listen(directory)
    prctl = _prctl()
    prctl(_PR_SET_CHILD_SUBREAPER, 1)
    try:
        agent = _start(directory, command, prctl)
    except OSError as error:
        _tell(f"{error.strerror}: {command[0]!r}")
        return
    me = os.getpid()
    mine = processes.started_at(me) or ""
    _tell("\n".join((STARTED, str(me), mine, str(agent["pid"]), agent["started"], str(agent["session"]))))
    from .watch import Watch  # Only now: the agent starts meanwhile.

    Watch(directory, agent, ringing).run()


def _start(directory: str, command: Sequence[str], prctl: Callable[[int, int], object]) -> Agent:
    """Start the agent in a process group of its own, which dies with this process where the kernel can do that.

    Raises:
        OSError: It could not be executed.
    """
    me = os.getpid()
    report, reporting = os.pipe()  # Closed by a successful exec, so that reading it to its end waits for that.
    pid = os.fork()
    if pid == 0:
        try:
            os.setpgid(0, 0)
            prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            if os.getppid() == me:  # Else the supervisor died before it could be tied to it.
                _become(directory, command)
        except OSError as error:
            os.write(reporting, str(error.errno).encode())
        finally:
            os._exit(127)
    os.close(reporting)
    with open(report, "rb") as file:
        problem = file.read()
    if problem:
        os.waitpid(pid, 0)
        raise OSError(int(problem), os.strerror(int(problem)))
    # It may have ended already, and is a zombie until `watch` reaps it.
    return {"pid": pid, "started": processes.started_at(pid, zombies=True) or "", "session": os.getsid(0)}


def _become(directory: str, command: Sequence[str]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = open_log(os.path.join(directory, LOG_FILE))
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(os.path.join(directory, APP_FOLDER))
    # Python ignores SIGPIPE and SIGXFSZ, the creator may ignore others; that would be inherited too.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    os.execve(command[0], list(command), os.environ)  # noqa: S606 - the agent's own command


def _prctl() -> Callable[[int, int], object]:
    """Return prctl(2), or something that does nothing where there is none: others clean up then (`burial`)."""
    if sys.platform == "linux":
        try:
            import ctypes

            library = ctypes.CDLL(None)
            return lambda option, value: library.prctl(option, ctypes.c_ulong(value), 0, 0, 0)
        except (ImportError, OSError):
            pass
    return lambda option, value: None


def _tell(message: str) -> None:
    """Tell the creator, and let go of the pipe to it."""
    try:
        os.write(1, message.encode("utf-8", "surrogateescape"))
    except BrokenPipeError:
        return  # It died. `watch` finds out what that means from the record.
    finally:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.close(nowhere)
