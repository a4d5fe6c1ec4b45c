"""The supervisor of a sandbox: a small process that starts the agent and watches it until it ends.

Its environment is the agent's; its standard input reserves the agent's port, its standard output is a pipe to the
creator, its standard error a file. It detaches from its creator, starts the agent and reports that; then it waits in
one `select` for a signal (the agent ended, or the machine shuts down), a wake-up (the record has changed) or the
next due time. Whatever woke it, it takes the lock, checks the agent and the record, and does the next step.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from . import processes
from .directory import SandboxDirectory, cut, discard, open_log, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .directory import Agent, Record

STARTED = "started"
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
DRAIN_SECONDS = 5.0
"""Time between the expiry of a sandbox (SIGTERM) and the kill of its processes (SIGKILL)."""
_MAX_SLEEP_SECONDS = 5.0
"""The longest wait, because the log may have grown, or the clock may have been set."""
_KILL_AGAIN_SECONDS = 1.0


def main(path: str, command: Sequence[str]) -> None:
    """Start `command` in the sandbox, and run until it has ended.

    The process that the creator started ends at once, so that the creator can reap it; its child continues. It writes
    `started`, and ID, start mark and session of supervisor and agent, to standard output, or one line with an error.
    """
    if os.fork():
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # The creator's thread may have blocked some, which is inherited.
    directory = SandboxDirectory(path)
    wakeups = directory.open_wakeup_fifo()
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
    Supervisor(directory, agent, wakeups).run()


class Supervisor:
    """The supervision of one agent, which is a child of this process; `wakeups` is the descriptor of its FIFO."""

    def __init__(self, directory: SandboxDirectory, agent: Agent, wakeups: int) -> None:
        self._directory = directory
        self._agent = agent
        self._wakeups = wakeups
        self._asked_to_stop = False
        self._signalled, self._signalling = os.pipe()
        self._trash: str | None = None

    def run(self) -> None:
        """Run until the agent and all its processes have ended and the sandbox is removed."""
        self._catch_signals()
        while self._trash is None:
            try:
                with self._directory.lock():
                    pause = self._step()
            except FileNotFoundError:
                self._reap_all()  # The directory was removed, so this sandbox can no longer be found.
                return
            if self._trash is None:
                self._sleep(min(pause, _MAX_SLEEP_SECONDS))
                cut(self._directory.log)
        remove(self._trash)

    def _step(self) -> float:
        """Do what is due, and return the seconds until the next step is due."""
        record = self._directory.read()
        if record is None or record["state"] == "creating":
            # The creator died before it returned this sandbox: no caller knows it, so none would terminate it.
            self._reap_all()
            self._trash = discard(self._directory.path)
            return 0
        if self._has_ended():
            exit_code = self._reap_all()
            self._trash = self._directory.retire(record, exit_code)
            return 0
        now = time.time()
        if record["due_at"] <= now or (self._asked_to_stop and record["state"] != "terminating"):
            self._terminate(record, now)
        return max(0, record["due_at"] - now)

    def _terminate(self, record: Record, now: float) -> None:
        """Send SIGTERM to a running agent; kill one that got it already, or that is paused and can't handle it."""
        gently = record["state"] == "running"
        record["state"] = "terminating"
        record["due_at"] = now + (DRAIN_SECONDS if gently else _KILL_AGAIN_SECONDS)
        self._directory.write(record)
        if gently:
            os.kill(self._agent["pid"], signal.SIGTERM)  # Not to its children: it may need them to finish.
        else:
            processes.send_to_group(self._agent["pid"], signal.SIGKILL)

    def _has_ended(self) -> bool:
        """Return whether the agent has ended, and reap orphaned children of it.

        The agent itself is not reaped: as long as it is a zombie, its ID isn't reused, and its group can be signalled.
        """
        if sys.platform != "linux":
            return processes.started_at(self._agent["pid"]) is None
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == self._agent["pid"]:
                return True
            os.waitpid(ended.si_pid, 0)
        return False

    def _reap_all(self) -> int:
        """Kill all remaining processes of the agent, and return how its own process ended."""
        processes.send_to_group(self._agent["pid"], signal.SIGKILL)
        _, status = os.waitpid(self._agent["pid"], 0)
        processes.kill_all_of(self._agent)
        return os.waitstatus_to_exitcode(status)

    def _catch_signals(self) -> None:
        for descriptor in (self._signalled, self._signalling):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._signalling, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self._asked_to_stop = True

    def _sleep(self, seconds: float) -> None:
        ready, _, _ = select.select((self._signalled, self._wakeups), (), (), seconds)
        for descriptor in ready:
            os.read(descriptor, 65536)


def _start(directory: SandboxDirectory, command: Sequence[str], prctl: Callable[[int, int], object]) -> Agent:
    """Start the agent in its own process group; if the kernel supports it, it is killed when this process dies.

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
    # It may have ended already, and is a zombie until the supervisor reaps it.
    return {"pid": pid, "started": processes.started_at(pid, zombies=True) or "", "session": os.getsid(0)}


def _become(directory: SandboxDirectory, command: Sequence[str]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = open_log(directory.log)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(directory.app)
    # Python ignores SIGPIPE and SIGXFSZ, and the creator may ignore others; the agent would inherit that.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    os.execve(command[0], list(command), os.environ)  # noqa: S606 - the agent's own command


def _prctl() -> Callable[[int, int], object]:
    """Return prctl(2), or a function that does nothing on other systems; there `lifecycle` cleans up."""
    if sys.platform == "linux":
        try:
            import ctypes

            library = ctypes.CDLL(None)
            return lambda option, value: library.prctl(option, ctypes.c_ulong(value), 0, 0, 0)
        except (ImportError, OSError):
            pass
    return lambda option, value: None


def _tell(message: str) -> None:
    """Send a message to the creator, and close the pipe."""
    try:
        os.write(1, message.encode("utf-8", "surrogateescape"))
    except BrokenPipeError:
        return  # It died; the record shows what to do then.
    finally:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.close(nowhere)
