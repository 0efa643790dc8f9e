"""Egress: the supervisor connects for its workers, which cannot do it themselves.

`policy.py` decides and is pure, `names.py` resolves, `connecting.py` opens
sockets, `broker.py` answers workers. TLS and HTTP stay in the worker.
"""
