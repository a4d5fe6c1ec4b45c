"""How much a service takes on: from one caller, and at once."""
