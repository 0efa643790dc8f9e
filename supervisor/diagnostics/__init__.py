"""Evidence of workers: asked for, kept within bounds, and read by a process of its own.

Owns exits, snapshots and their reports on disk. Must not know pools or HTTP.
"""
