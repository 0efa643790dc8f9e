"""The commands of `bulkhead`, one file each; `supervisor.__main__` loads the one that is asked for.

`context.py` holds the options that commands share, `client.py` how they reach a running service.
"""
