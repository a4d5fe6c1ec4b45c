"""One invocation from its start to its end, and the handler's work in between, without a word of HTTP."""
