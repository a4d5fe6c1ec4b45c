"""The supervisor of a sandbox: a small process that starts the agent and watches it until it ends.

Its environment is the agent's; its standard input keeps the agent's port from others, its standard output is a pipe to
the creator, its standard error a file. It leaves its creator, starts the agent and says so; then it sleeps in one
`select` for a signal (the agent ended, or the machine goes down), a wake-up (somebody changed the record) or the moment
that is due. Whatever woke it, it takes the lock, looks at the agent and the record, and does the next step.
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
"""Between the end of a sandbox's life (SIGTERM) and the end of its processes (SIGKILL)."""
_MAX_SLEEP_SECONDS = 5.0
"""The longest sleep: the log may have grown, the clock may have been set."""
_KILL_AGAIN_SECONDS = 1.0


def main(path: str, command: Sequence[str]) -> None:
    """Start `command` in the sandbox and stay until it has ended.

    The process that the creator started ends at once, so that the creator has nobody to reap; its child goes on. On
    standard output come `started`, the supervisor's and the agent's id, start mark and session, or one line of error.
    """
    if os.fork():
        os._exit(0)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())  # The creator's thread may have blocked some; that is inherited.
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
        """Stay until the agent and everything it left behind has ended and the sandbox is put away."""
        self._catch_signals()
        while self._trash is None:
            try:
                with self._directory.lock():
                    pause = self._step()
            except FileNotFoundError:
                self._reap_all()  # Somebody removed the directory, and with it the way to find this sandbox.
                return
            if self._trash is None:
                self._sleep(min(pause, _MAX_SLEEP_SECONDS))
                cut(self._directory.log)
        remove(self._trash)

    def _step(self) -> float:
        """Do what is due, and return how many seconds there are until the next thing is."""
        record = self._directory.read()
        if record is None or record["state"] == "creating":
            # The creator died before it could say that this sandbox exists: nobody knows it, nobody would end it.
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
        """Ask a running agent to finish; end one that was asked already, or that sleeps and could not hear."""
        gently = record["state"] == "running"
        record["state"] = "terminating"
        record["due_at"] = now + (DRAIN_SECONDS if gently else _KILL_AGAIN_SECONDS)
        self._directory.write(record)
        if gently:
            os.kill(self._agent["pid"], signal.SIGTERM)  # Not to its children: it may need them to finish.
        else:
            processes.send_to_group(self._agent["pid"], signal.SIGKILL)

    def _has_ended(self) -> bool:
        """Return whether the agent has ended, and reap what it left behind and this process adopted.

        The agent itself is not reaped: as long as it is a zombie, its id belongs to it and its group can be signalled.
        """
        if sys.platform != "linux":
            return processes.started_at(self._agent["pid"]) is None
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            if ended.si_pid == self._agent["pid"]:
                return True
            os.waitpid(ended.si_pid, 0)
        return False

    def _reap_all(self) -> int:
        """End whatever is left of the agent and return how its own process ended."""
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
    # It may have ended already, and is a zombie until the supervisor reaps it.
    return {"pid": pid, "started": processes.started_at(pid, zombies=True) or "", "session": os.getsid(0)}


def _become(directory: SandboxDirectory, command: Sequence[str]) -> None:
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = open_log(directory.log)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.chdir(directory.app)
    # Python ignores SIGPIPE and SIGXFSZ, the creator may ignore others; that would be inherited too.
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    os.execve(command[0], list(command), os.environ)  # noqa: S606 - the agent's own command


def _prctl() -> Callable[[int, int], object]:
    """Return prctl(2), or something that does nothing where there is none: others clean up then (`lifecycle`)."""
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
        return  # It died. the supervisor finds out what that means from the record.
    finally:
        nowhere = os.open(os.devnull, os.O_RDWR)
        os.dup2(nowhere, 1)
        os.close(nowhere)
