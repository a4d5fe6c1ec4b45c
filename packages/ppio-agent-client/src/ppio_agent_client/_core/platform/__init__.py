"""The PPIO platform's URLs, requests, responses, labels and start commands, without network access."""
