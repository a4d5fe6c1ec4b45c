"""The engine behind `LocalSandboxProvider`: sandboxes as supervised processes on this machine, with blocking calls.

Read it in this order: `store` (the operations), `create` (how a sandbox is created), `supervisor` (the small process
that watches each agent), `lifecycle` (how it is paused, ended and cleaned up). The state of a sandbox is one record in
its `directory`, changed only under the directory's lock; a FIFO wakes the supervisor after a change.

The supervisor runs `supervisor`, `directory`, `locks` and `processes` without site-packages, as a package called
`local`. These only import each other and light modules of the standard library, because they add to the start time of
a sandbox. For the same reason paths are plain strings.
"""
