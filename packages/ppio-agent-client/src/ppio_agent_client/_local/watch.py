"""What a supervisor does all its life: wait for the agent's end, its time, or the bell, and act.

It sleeps in one `select` for a signal (the agent ended, or the machine goes down), the bell (somebody changed the
record) or the moment that is due. Whatever woke it, it takes the lock, looks at the agent and the record, and does the
next step.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time

from . import processes
from .ending import discard, remove, retire
from .locks import Lock
from .logs import cut
from .names import LOCK_FILE, LOG_FILE
from .records import read_record, write_record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .records import Agent, Record

DRAIN_SECONDS = 5.0
"""Between the end of a sandbox's life (SIGTERM) and the end of its processes (SIGKILL)."""
_LOOK_SECONDS = 5.0
"""The longest sleep: the log may have grown, the clock may have been set."""
_AGAIN_SECONDS = 1.0


class Watch:
    """The supervision of one agent, which is a child of this process.

    Args:
        directory: The sandbox's directory.
        agent: Its process.
        ringing: The descriptor of its bell.
    """

    def __init__(self, directory: str, agent: Agent, ringing: int) -> None:
        self._directory = directory
        self._agent = agent
        self._ringing = ringing
        self._asked_to_stop = False
        self._signalled, self._signalling = os.pipe()
        self._trash: str | None = None

    def run(self) -> None:
        """Stay until the agent and everything it left behind has ended and the sandbox is put away."""
        self._listen()
        while self._trash is None:
            try:
                with Lock(os.path.join(self._directory, LOCK_FILE)):
                    pause = self._step()
            except FileNotFoundError:
                self._reap_all()  # Somebody removed the directory, and with it the way to find this sandbox.
                return
            if self._trash is None:
                self._sleep(min(pause, _LOOK_SECONDS))
                cut(os.path.join(self._directory, LOG_FILE))
        remove(self._trash)

    def _step(self) -> float:
        """Do what is due, and return how many seconds there are until the next thing is."""
        record = read_record(self._directory)
        if record is None or record["state"] == "making":
            # The creator died before it could say that this sandbox exists: nobody knows it, nobody would end it.
            self._reap_all()
            self._trash = discard(self._directory)
            return 0
        if self._has_ended():
            exit_code = self._reap_all()
            self._trash = retire(self._directory, record, exit_code)
            return 0
        now = time.time()
        if record["due_at"] <= now or (self._asked_to_stop and record["state"] != "ending"):
            self._end(record, now)
        return max(0, record["due_at"] - now)

    def _end(self, record: Record, now: float) -> None:
        """Ask a running agent to finish; end one that was asked already, or that sleeps and could not hear."""
        gently = record["state"] == "running"
        record["state"] = "ending"
        record["due_at"] = now + (DRAIN_SECONDS if gently else _AGAIN_SECONDS)
        write_record(self._directory, record)
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

    def _listen(self) -> None:
        for descriptor in (self._signalled, self._signalling):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(self._signalling, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, signal.SIG_IGN)

    def _stop(self, *_: object) -> None:
        self._asked_to_stop = True

    def _sleep(self, seconds: float) -> None:
        ready, _, _ = select.select((self._signalled, self._ringing), (), (), seconds)
        for descriptor in ready:
            os.read(descriptor, 65536)
