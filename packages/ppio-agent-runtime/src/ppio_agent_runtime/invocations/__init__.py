"""Invocations: started, worked on, watched, stopped, held, and told to whoever subscribes."""
