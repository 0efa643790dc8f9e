"""Isolation: which connections cost workers, and what becomes of them and of their batches.

`machine.py` takes facts (`facts.py`) and answers effects (`effects.py`); the parts of it are
`attribution.py` (whose fault a death was), `bisection.py` (what of a suspected batch is sent
again), `trust.py` (what a connection has to prove), `charges.py` and `health.py` (what it is held
to account for, and when it trips) and `dedication.py` (which connection has a worker of its own,
and for how long). Where a connection runs is said once, in `core/placement.py`. Beside the
machine stand `responsiveness.py` (which event loops are kept, and by which connection), `grants.py`
(how much a worker is given) and `leaks.py` (which connection leaks memory).
"""
