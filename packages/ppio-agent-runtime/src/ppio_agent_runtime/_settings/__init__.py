"""What can be set about a service, where each value comes from, and what is wrong with it."""
