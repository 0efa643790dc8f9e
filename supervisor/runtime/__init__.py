"""What this process asks of the machine and the interpreter: clock, allocator, collector, systemd.

Must not know anything of events, queues or workers.
"""
