"""Invocations as stores keep them."""

from __future__ import annotations

from dataclasses import replace

from ppio_agent_runtime.invocations.kept_log import HeldEvents
from ppio_agent_runtime.invocations.store import Answer, KeyScope, StoredInvocation

SCOPE = KeyScope("caller", "session", "key")


class NothingRuns:
    """A process in which no invocation runs."""

    def cancel_running(self, invocation_id: str) -> None: ...

    def note_reader(self, invocation_id: str, reader: str, position: int | None) -> None: ...

    def forget_readers(self, prefix: str) -> None: ...


def begun(name: str = "a", scope: KeyScope | None = SCOPE) -> StoredInvocation:
    return StoredInvocation(
        id=name,
        scope=scope,
        fingerprint=b"\x00digest",
        state="queued",
        form=None,
        request_id="r",
        session_id=None,
        created_at=1.5,
        started_at=None,
        finished_at=None,
        events=HeldEvents([], 0, only_text=True),
    )


def finished(name: str = "a", value: bytes | None = b'"x"', scope: KeyScope | None = SCOPE) -> StoredInvocation:
    envelope = b'{"result":null}'
    block = b'id: 1\ndata: "x"\n\nevent: done\nid: 2\ndata: %b\n\n' % envelope
    return replace(
        begun(name, scope),
        state="succeeded",
        form="value" if value is not None else "response",
        started_at=2.5,
        finished_at=10.0**11,
        answer=Answer(200, envelope, value, [(b"x-a", b"\xe9")], None if value is not None else b"\xff"),
        events=HeldEvents([(1, block)], 2, only_text=True),
    )
