"""What a worker used in its life, apart from the store of exits, which commands do without."""

from __future__ import annotations

import resource

import msgspec


class Usage(msgspec.Struct, frozen=True):
    """What a worker used in its life, from the kernel: seconds of CPU, bytes, counts.

    `max_rss_bytes` includes what it inherited from the zygote.
    """

    user_s: float
    system_s: float
    max_rss_bytes: int
    major_faults: int
    blocks_in: int
    blocks_out: int
    preempted: int

    @classmethod
    def of(cls, usage: resource.struct_rusage) -> Usage:
        """From wait4(2), which counts memory in KiB."""
        return cls(
            usage.ru_utime,
            usage.ru_stime,
            usage.ru_maxrss * 1024,
            usage.ru_majflt,
            usage.ru_inblock,
            usage.ru_oublock,
            usage.ru_nivcsw,
        )
