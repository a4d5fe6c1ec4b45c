"""What `doctor` looks at: one file per topic, each a function to its checks. Each takes a bounded time."""
