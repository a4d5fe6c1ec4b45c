"""What can be seen from outside: health, metrics, log lines, traces."""
