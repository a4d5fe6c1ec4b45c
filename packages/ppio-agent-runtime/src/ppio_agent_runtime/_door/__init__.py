"""Who may come in, and how many: signatures, rate limits, places to run, and for whom a request counts."""
