"""Small facts that outlive a restart, each in a file of its own below the state directory."""
