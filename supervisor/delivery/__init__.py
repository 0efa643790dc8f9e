"""From a leased delivery to its verdict: pools, batches, workers that serve, and blame.

Owns what runs between the queue and the workers. Must not know HTTP, or how a worker is
started.
"""
