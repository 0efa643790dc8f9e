"""Isolation: which connections cost workers, and what becomes of them and of their batches.

`machine.py` takes facts (`facts.py`) and answers effects (`effects.py`); the parts of it are
`attribution.py` (whose fault a death was), `bisection.py` (what of a suspected batch is sent
again), `trust.py` (what a connection has to prove), `charges.py` and `health.py` (what it is held
to account for, and when it trips), `dedication.py` (who runs in a worker of its own, and for how
long) and `placement.py` (where a connection runs, said once). Beside it stand `responsiveness.py`
(whose event loops are kept, and by which connection) and `grants.py` (how much a worker is given).
"""
