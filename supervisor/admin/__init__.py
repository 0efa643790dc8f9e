"""The admin surface: what the service tells an operator, and what an operator may ask of it."""
