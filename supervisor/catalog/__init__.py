"""What destinations are: asked of jailed workers, kept as declarations.

Owns the only knowledge of a destination that the service has; destination code is never
imported here.
"""
