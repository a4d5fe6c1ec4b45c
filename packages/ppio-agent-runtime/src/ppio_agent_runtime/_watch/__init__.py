"""What can be seen from outside: health, numbers, log lines, traces."""
