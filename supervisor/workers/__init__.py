"""Worker processes as the supervisor has them: forked, spoken to, looked at, ended, reaped.

Owns the zygote, wires and channels. Must not know deliveries or connections' limits.
"""
