"""Sandboxes: a directory, an address of their own, processes, and a life that ends by itself."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import sys
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from starlette.exceptions import HTTPException

from . import paths
from .processes import SANDBOX_VARIABLE, Process, signal_all
from .templates import Template, now, stamp

CLIENT_ID: Final = "6532622b"
AGENT_PORT: Final = 8080
AUTO_RESUME_SECONDS: Final = 300
BAKED_START_SECONDS: Final = 30.0


@dataclass
class SandboxOptions:
    """What a caller asks for in a new sandbox."""

    seconds: int = 15
    metadata: dict[str, str] = field(default_factory=dict)
    env_vars: dict[str, str] = field(default_factory=dict)
    secure: bool = False
    auto_pause: bool = False
    auto_resume: bool = False
    allow_internet_access: bool = True
    network: dict[str, Any] = field(default_factory=dict)

    @property
    def is_private(self) -> bool:
        return self.network.get("allowPublicTraffic") is False


class Sandbox:
    """One sandbox. Its agent listens on port 8080 of an own loopback address (`127.x.y.z`), which no other one has."""

    def __init__(self, template: Template, options: SandboxOptions, folder: Path, envd_version: str) -> None:
        self.sandbox_id = "i" + secrets.token_hex(10)
        self.template = template
        self.options = options
        self.envd_version = envd_version
        self.envd_token = secrets.token_hex(16)
        self.traffic_token = secrets.token_hex(16) if options.is_private else None
        self.address = "127.{}.{}.{}".format(*(byte % 253 + 1 for byte in os.urandom(3)))
        self.state = "running"
        self.started_at = now()
        self.end_at = self.started_at
        self.processes: dict[int, Process] = {}
        self.logs: deque[dict[str, Any]] = deque(maxlen=5000)
        self.timer: asyncio.TimerHandle | None = None
        self._folder = folder / self.sandbox_id

    @property
    def root(self) -> Path:
        """What it calls `/`; made when first asked for."""
        if not self._folder.exists():
            self.make_files()
        return self._folder

    def make_files(self) -> None:
        if self.template.root is not None:
            shutil.copytree(self.template.root, self._folder, symlinks=True)
        for name in (paths.HOME, "/app"):
            (self._folder / name[1:]).mkdir(parents=True, exist_ok=True)

    def remove_files(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self, own: dict[str, str] | None = None) -> dict[str, str]:
        """Return what a process of this sandbox finds in its environment."""
        return {
            "HOME": str(self.root / paths.HOME[1:]),
            "LANG": "C.UTF-8",
            "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
            **self.template.environment,
            **(own or {}),
            "PPIO_AGENT_HOST": self.address,
            SANDBOX_VARIABLE: self.sandbox_id,
        }

    def start(self, config: dict[str, Any], *, tag: str | None = None) -> Process:
        """Run a command.

        Raises:
            ValueError: Its folder is not in the sandbox.
            OSError: It cannot be started.
        """
        given = [str(config.get("cmd", "")), *map(str, config.get("args", []))]
        # A login shell would read this machine's profile, not the sandbox's.
        arguments = [paths.command(self.root, each) for each in given if each != "-l"]
        process = Process.start(
            arguments,
            environment=self.environment(self.options.env_vars | config.get("envs", {})),
            folder=paths.on_this_machine(self.root, config.get("cwd") or self.template.workdir),
            config=config,
            tag=tag,
            heard=self._heard,
        )
        self.processes[process.pid] = process
        return process

    def _heard(self, stream: str, data: bytes) -> None:
        """Log it as envd does: pieces that end anywhere, also within a line; envd waits 2 s for more of it."""
        fields = {"logger": "process", "event_type": stream, "data": data.decode(errors="replace")}
        self.logs.append(
            {"timestamp": stamp(now()), "level": "info", "message": "Streaming process event", "fields": fields}
        )

    def view(self) -> dict[str, Any]:
        """Return it as lists show it."""
        return {
            "sandboxID": self.sandbox_id,
            "clientID": CLIENT_ID,
            "templateID": self.template.template_id,
            "startedAt": stamp(self.started_at),
            "endAt": stamp(self.end_at),
            "cpuCount": self.template.cpu_count,
            "memoryMB": self.template.memory_mb,
            "diskSizeMB": 20480,
            "envdVersion": self.envd_version,
            "state": self.state,
            "metadata": self.options.metadata,
        } | ({"alias": self.template.names[0]} if self.template.names else {})


class Sandboxes:
    """All living sandboxes, the oldest first, each with the timer that ends it."""

    def __init__(self, folder: Path, *, legacy: bool, most: int, longest_seconds: int, envd_version: str) -> None:
        self._folder = folder
        self._legacy = legacy
        self._by_id: dict[str, Sandbox] = {}
        self._ids: dict[str, str] = {}
        self._expiring: set[asyncio.Task[None]] = set()
        self.most = most
        self.longest_seconds = longest_seconds
        self.envd_version = envd_version
        self.made = 0

    def __iter__(self) -> Iterator[Sandbox]:
        return iter(list(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def get(self, name: str) -> Sandbox | None:
        """Return the sandbox with this id; the legacy platform also knows `<id>-<clientID>`."""
        return self._by_id.get(name.removesuffix(f"-{CLIENT_ID}") if self._legacy else name)

    def find(self, name: str) -> Sandbox:
        """Return the sandbox with this id.

        Raises:
            HTTPException: There is none.
        """
        if (found := self.get(name)) is None:
            raise HTTPException(404, f"sandbox '{name}' doesn't exist or you don't have access to it")
        return found

    def by_token(self, token: str) -> str | None:
        """Return the id of the sandbox whose envd has this token, or had it while it lived."""
        return self._ids.get(token)

    async def create(self, template: Template, options: SandboxOptions) -> Sandbox:
        """Make one, with what the template starts already running.

        Raises:
            HTTPException: The account's quota is used up, or the template's start command failed.
        """
        if len(self) >= self.most:
            raise HTTPException(
                429, f"you have reached the maximum number of concurrent sandboxes ({self.most}), your quota"
            )
        sandbox = Sandbox(template, options, self._folder, self.envd_version)
        self._by_id[sandbox.sandbox_id] = sandbox
        self._ids[sandbox.envd_token] = sandbox.sandbox_id
        self.made += 1
        template.spawn_count += 1
        self.live_for(sandbox, options.seconds)
        if template.root is not None:
            await asyncio.to_thread(sandbox.make_files)
        if template.start_cmd:
            await self._start_baked(sandbox)
        return sandbox

    async def _start_baked(self, sandbox: Sandbox) -> None:
        options, sandbox.options = sandbox.options, SandboxOptions()  # the snapshot knows nothing of this sandbox
        try:
            command = {"cmd": "/bin/bash", "args": ["-l", "-c", sandbox.template.start_cmd]}
            process = sandbox.start(command)
        finally:
            sandbox.options = options
        end = time.monotonic() + BAKED_START_SECONDS
        while time.monotonic() < end and not process.ended.is_set():
            try:
                _, writer = await asyncio.open_connection(sandbox.address, AGENT_PORT)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
        await self.kill(sandbox)
        raise HTTPException(500, "the start command of the template does not listen on port 8080")

    def live_for(self, sandbox: Sandbox, seconds: float) -> None:
        """End a sandbox so many seconds from now.

        Raises:
            HTTPException: Nobody may have it for so long.
        """
        if seconds > self.longest_seconds:
            raise HTTPException(400, f"Timeout cannot be greater than {self.longest_seconds / 3600:g} hours")
        sandbox.end_at = now() + timedelta(seconds=seconds)
        self._stop_timer(sandbox)
        sandbox.timer = asyncio.get_running_loop().call_later(seconds, self._expire, sandbox)

    def _expire(self, sandbox: Sandbox) -> None:
        task = asyncio.create_task(self.pause(sandbox) if sandbox.options.auto_pause else self.kill(sandbox))
        self._expiring.add(task)
        task.add_done_callback(self._expiring.discard)

    async def close(self) -> None:
        """End all of them, those whose end has begun included."""
        await asyncio.gather(*self._expiring)
        for sandbox in self:
            await self.kill(sandbox)

    @staticmethod
    def _stop_timer(sandbox: Sandbox) -> None:
        if sandbox.timer is not None:
            sandbox.timer.cancel()
            sandbox.timer = None

    async def kill(self, sandbox: Sandbox) -> None:
        """End it with everything in it."""
        self._stop_timer(sandbox)
        sandbox.state = "killed"
        self._by_id.pop(sandbox.sandbox_id, None)
        if sandbox.processes:
            await asyncio.to_thread(signal_all, sandbox.sandbox_id, signal.SIGKILL)
            for process in list(sandbox.processes.values()):
                await process.ended.wait()
        await asyncio.to_thread(sandbox.remove_files)

    async def pause(self, sandbox: Sandbox) -> None:
        """Stop it where it is; it does not end while it sleeps."""
        self._stop_timer(sandbox)
        sandbox.state = "paused"
        await self._signal(sandbox, signal.SIGSTOP)

    async def resume(self, sandbox: Sandbox, seconds: float) -> None:
        """Let it go on, for so many seconds."""
        self.live_for(sandbox, seconds)
        sandbox.state = "running"
        await self._signal(sandbox, signal.SIGCONT)

    @staticmethod
    async def _signal(sandbox: Sandbox, number: int) -> None:
        if sandbox.processes:
            await asyncio.to_thread(signal_all, sandbox.sandbox_id, number)
