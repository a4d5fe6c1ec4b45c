"""One module for each route: what a request asks for, and how it is answered."""
