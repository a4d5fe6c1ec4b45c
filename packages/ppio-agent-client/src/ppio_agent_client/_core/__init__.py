"""What the client decides, as pure functions: no network, clock, tasks or chance. Whoever calls brings those in."""
