"""What came in, as it came in: a list that tests search."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Literal

Target = Literal["control", "envd", "agent"]

KEPT_BYTES = 1 << 20


@dataclass(slots=True)
class Call:
    """One request; header names are in lower case. `status` is 0 while it runs, and when nothing was ever answered."""

    target: Target
    endpoint: str
    sandbox_id: str | None
    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    status: int = 0
    time: float = field(default_factory=time.time)

    @property
    def connect_timeout_ms(self) -> int | None:
        """The deadline that the caller set for what it starts, milliseconds."""
        value = self.headers.get("connect-timeout-ms")
        return None if value is None else int(value)

    def mentions(self, secret: str) -> bool:
        """Tell whether a text is anywhere in this request."""
        head = "\n".join((self.path, self.query, *self.headers, *self.headers.values()))
        return secret in head or secret.encode() in self.body


class RequestLog(list[Call]):
    """All calls, the oldest first."""

    def of(
        self, endpoint: str | None = None, *, target: Target | None = None, sandbox: str | None = None
    ) -> list[Call]:
        """Return the calls of an endpoint, a target, a sandbox, or of what of it is given."""
        return [
            call
            for call in self
            if endpoint in {None, call.endpoint}
            and target in {None, call.target}
            and sandbox in {None, call.sandbox_id}
        ]
