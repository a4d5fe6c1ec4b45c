"""The parts of `deploy`: what is sent, how it is built, and the status in the manifest."""
