"""HTTP/1.1 on a connection: a request, its limits, its body and its answer; nothing of who answers it."""
