"""What `deploy` is made of: what is sent, how it is built, and what is written back."""
