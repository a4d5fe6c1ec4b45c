"""One module for each route: it reads the request and responds."""
