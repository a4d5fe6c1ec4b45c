"""Places where sandboxes come from."""
