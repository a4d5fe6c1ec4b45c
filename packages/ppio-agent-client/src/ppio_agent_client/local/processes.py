"""Finds, identifies and ends processes.

The kernel gives the IDs of dead processes to new ones, so a process is identified by its ID together with its start
time, and no signal is sent because of an ID alone.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .directory import Agent, Supervisor

_KILL_WAIT_SECONDS = 5.0
"""How long a killed process may take to end; only one that hangs in the kernel takes longer."""
_POLL_SECONDS = 0.005


class Process:
    """A running process: its ID, parent, group, session, and start time mark."""

    __slots__ = ("group", "parent", "pid", "session", "started")

    def __init__(self, pid: int, parent: int, group: int, session: int, started: str) -> None:
        self.pid: int = pid
        self.parent: int = parent
        self.group: int = group
        self.session: int = session
        self.started: str = started


def started_at(pid: int, *, zombies: bool = False) -> str | None:
    """Return the start time mark of process `pid`, None if it isn't running (a zombie only counts with `zombies`)."""
    if sys.platform == "linux":
        process = _linux_process(pid, zombies=zombies)
    else:
        process = next(iter(_listed_by_ps("-p", str(pid), zombies=zombies)), None)
    return process.started if process else None


def processes() -> list[Process]:
    """Return every running process that is visible to this one."""
    if sys.platform != "linux":
        return _listed_by_ps("-A")
    found = (_linux_process(int(name)) for name in os.listdir("/proc") if name.isdigit())
    return [process for process in found if process]


def signal_group(agent: Agent, number: int) -> bool:
    """Send a signal to the agent and its children; False if it isn't running."""
    if started_at(agent["pid"]) != agent["started"]:
        return False
    return send_to_group(agent["pid"], number)


def send_to_group(group: int, number: int) -> bool:
    """Send a signal to a group whose leader is a child of this process or was just verified; False if it has ended."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        # macOS answers "not permitted" for a group of which only zombies are left.
        return False
    return True


def kill_process(process: Supervisor) -> None:
    """Kill a process, if its ID still belongs to it."""
    if started_at(process["pid"]) == process["started"]:
        _kill(process["pid"])


def kill_group(agent: Agent) -> bool:
    """Kill the rest of an agent's process group, and wait for its end; False if a process did not end."""
    deadline = time.monotonic() + _KILL_WAIT_SECONDS
    while any(_is_of(agent, process) for process in processes()):
        if time.monotonic() > deadline:
            return False
        send_to_group(agent["pid"], signal.SIGKILL)
        time.sleep(_POLL_SECONDS)
    return True


def kill_all_of(agent: Agent) -> bool:
    """Kill the agent's group and every other child of this process, reap them, and wait until all have ended.

    Children that left the group for a session of their own come back to the supervisor when their parents end, on
    Linux (`PR_SET_CHILD_SUBREAPER`), so they are found here generation by generation.
    """
    me = os.getpid()
    deadline = time.monotonic() + _KILL_WAIT_SECONDS
    while left := [process for process in processes() if process.parent == me or _is_of(agent, process)]:
        for process in left:
            # Each of them is our child, or in our session, so its ID cannot have been reused.
            _kill(process.pid)
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
        _reap()
    _reap()
    return True


def _is_of(agent: Agent, process: Process) -> bool:
    """Return whether a process belongs to the agent's group, and not to a later group of the same number."""
    if process.group != agent["pid"] or process.session != agent["session"]:
        return False
    if process.pid == agent["pid"]:
        return process.started == agent["started"]
    return _began_with(process.started, agent["started"])


def _began_with(started: str, earlier: str) -> bool:
    """Return whether the first mark is of the same boot as the second, and not before it."""
    boot, _, ticks = started.rpartition(" ")
    earlier_boot, _, earlier_ticks = earlier.rpartition(" ")
    if sys.platform != "linux":
        return True  # Marks of `ps` cannot be ordered, so only group and session are compared.
    return boot == earlier_boot and int(ticks) >= int(earlier_ticks)


def _reap() -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def _linux_process(pid: int, *, zombies: bool = False) -> Process | None:
    """Read `/proc/<pid>/stat` (proc_pid_stat(5)); the name in it may contain spaces and brackets."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    if fields[0] in (b"Z", b"X") and not zombies:
        return None
    return Process(pid, int(fields[1]), int(fields[2]), int(fields[3]), f"{_boot()} {int(fields[19])}")


@cache
def _boot() -> str:
    """Return an ID of this boot, because IDs and start times repeat after a reboot."""
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return "-"


def _listed_by_ps(*selection: str, zombies: bool = False) -> list[Process]:
    """Return the processes that `ps` lists (POSIX, with the `lstart` of macOS and the BSDs)."""
    import subprocess  # Not needed on Linux.

    command = ["/bin/ps", *selection, "-o", "pid=", "-o", "ppid=", "-o", "pgid=", "-o", "stat=", "-o", "lstart="]
    listing = subprocess.run(command, capture_output=True, text=True, env={"LC_ALL": "C"}, check=False)
    found = []
    for line in listing.stdout.splitlines():
        pid, parent, group, state, started = line.split(None, 4)
        if state.startswith("Z") and not zombies:
            continue
        try:
            session = os.getsid(int(pid))
        except OSError:
            continue
        found.append(Process(int(pid), int(parent), int(group), session, started.strip()))
    return found
