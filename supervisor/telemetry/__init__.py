"""What the service says of itself: metrics, status types and the log.

Owns names and shapes that operators' tools read. Stands below those that tell; must not reach
for what it is told.
"""
