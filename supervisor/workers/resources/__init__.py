"""What a worker is given to live in, and what the kernel says of it.

Owns its user, control group and scratch folder. Must not know pools.
"""
