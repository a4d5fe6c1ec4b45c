"""What is kept of a durable invocation: its events, its answer, its key; bounded, in memory and on disk."""
