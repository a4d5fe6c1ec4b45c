"""What `validate` looks at: one file per thing, each a function from an agent's folder to its findings."""
