"""The decisions of the client, as pure functions: network, clock, tasks and random values come from their callers."""
