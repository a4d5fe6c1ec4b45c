"""HTTP, independent of invocations: reads requests, writes responses and events."""
