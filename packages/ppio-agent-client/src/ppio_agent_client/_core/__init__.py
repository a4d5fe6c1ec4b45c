"""The client's logic as pure functions, without network, clock, tasks or random values."""
