"""How large a sandbox is on the platform: whole CPUs, and memory in steps.

Limits of the platform's documents: 1 to 8 CPUs, 512 to 8192 MiB in steps of 512, and 512 to 4096 MiB for each CPU.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ppio_agent_models import ConfigurationError

MAX_CPUS: Final = 8
MEMORY_STEP_MIB: Final = 512
MAX_MEMORY_MIB: Final = 8192
_MAX_MIB_PER_CPU: Final = 4096


class Size(NamedTuple):
    """CPUs and memory of a sandbox."""

    cpus: int
    memory_mib: int

    def __str__(self) -> str:
        return f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}, {self.memory_mib} MiB"


def size_of(cpu_limit: str | None, memory_limit: str | None) -> Size:
    """Return the size that a manifest asks for; what it does not say is chosen to fit, 2 CPUs and 1024 MiB if possible.

    Raises:
        ConfigurationError: The platform has no sandboxes of this size.
    """
    cpus = None if cpu_limit is None else _cpus(cpu_limit)
    memory = None if memory_limit is None else _memory_mib(memory_limit)
    if memory is None:
        memory = max(1024, (cpus or 0) * MEMORY_STEP_MIB)
    if cpus is None:
        cpus = min(2, memory // MEMORY_STEP_MIB)
    if not cpus * MEMORY_STEP_MIB <= memory <= cpus * _MAX_MIB_PER_CPU:
        raise ConfigurationError(
            f"{cpus} CPUs with {memory} MiB do not fit: the platform gives each CPU {MEMORY_STEP_MIB} to "
            f"{_MAX_MIB_PER_CPU} MiB; change cpu_limit or memory_limit in spec.runtime"
        )
    return Size(cpus, memory)


def _cpus(limit: str) -> int:
    thousandths = int(limit.removesuffix("m")) * (1 if limit.endswith("m") else 1000)
    if thousandths % 1000 or not 1 <= thousandths // 1000 <= MAX_CPUS:
        raise ConfigurationError(
            f"spec.runtime.cpu_limit is {limit!r}, and the platform has whole CPUs, 1 to {MAX_CPUS}"
        )
    return thousandths // 1000


def _memory_mib(limit: str) -> int:
    mib = int(limit[:-2]) * (1024 if limit.endswith("Gi") else 1)
    if mib % MEMORY_STEP_MIB or not MEMORY_STEP_MIB <= mib <= MAX_MEMORY_MIB:
        raise ConfigurationError(
            f"spec.runtime.memory_limit is {limit!r}, and the platform has {MEMORY_STEP_MIB}Mi to {MAX_MEMORY_MIB}Mi "
            f"in steps of {MEMORY_STEP_MIB}Mi"
        )
    return mib
