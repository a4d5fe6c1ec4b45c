"""The engine behind `LocalSandboxProvider`: sandboxes as supervised processes on this machine, with blocking calls.

Read it in this order: `store` (the verbs), `making` (how a sandbox comes to be), `supervisor` and `watch` (the small
process that stays with each agent), `ending` and `burial` (how it goes). The truth about a sandbox is one record in its
directory, changed only under the directory's lock; a bell wakes the supervisor when somebody changed it.

The supervisor runs `names`, `records`, `locks`, `bell`, `logs`, `processes`, `ending`, `supervisor` and `watch` without
site-packages, as a package called `_local`. These import the standard library and each other, nothing above, and
nothing heavy: they are part of the time that a sandbox takes to start. For the same reason paths are plain strings.
"""

TYPE_CHECKING = False  # Type checkers know the name; `typing` itself would cost the supervisor half of its start.
if TYPE_CHECKING:
    from .store import LocalStore as LocalStore

__all__ = ["LocalStore"]


def __getattr__(name: str) -> object:
    if name != "LocalStore":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .store import LocalStore  # Not before somebody wants it: see above.

    return LocalStore
