"""The engine behind `LocalSandboxProvider`: sandboxes as supervised processes on this machine, with blocking calls.

Read it in this order: `store` (the verbs), `create` (how a sandbox is made), `supervisor` (the small process that
stays with each agent), `lifecycle` (how it is paused, ended and cleaned up). The truth about a sandbox is one
record in its `directory`, changed only under the directory's lock; a FIFO wakes the supervisor when it was changed.

The supervisor runs `supervisor`, `directory`, `locks` and `processes` without site-packages, as a package called
`local`. These import the standard library and each other, nothing above, and nothing heavy: they are
part of the time that a sandbox takes to start. For the same reason paths are plain strings.
"""
