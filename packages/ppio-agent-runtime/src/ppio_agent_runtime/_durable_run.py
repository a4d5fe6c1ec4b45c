"""The work for one durable invocation, and all that its request said about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from ._run import Run
from ._unconnected import never, nowhere

if TYPE_CHECKING:
    from ._handler import Handler
    from ._record import Record
    from ._request import Durability, InvocationCall


class DurableRun(Run):
    """A run that its callers may leave: who hears of them is the record.

    Args:
        call: What was asked for.
        durability: How it asked to be durable.
        handler: Who works.

    Attributes:
        call: The same.
        durability: The same.
        handler: The same.
        record: Where it goes.
        on_late: Called with this once the stopped handler has refused to end for so long that nobody should wait.
    """

    record: Record
    on_late: Callable[[DurableRun], None]

    def __init__(self, call: InvocationCall, durability: Durability, handler: Handler) -> None:
        super().__init__(call.context, never, nowhere)
        self.call = call
        self.durability = durability
        self.handler = handler

    def watch(self, now: float) -> bool:
        """Look after the run at every tick of the clock."""
        if super().watch(now):
            self.on_late(self)
        return False

    def check(self) -> None:
        """Raise why the run was stopped, if it was."""
        if self.reason is not None:
            raise self.reason
