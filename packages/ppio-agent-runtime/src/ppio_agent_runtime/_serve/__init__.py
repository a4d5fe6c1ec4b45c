"""A process that serves one app: its port, its event loops, startup, drain and exit code."""
