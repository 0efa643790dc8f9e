"""`bulkhead` with workers that have no jail: what the row `jailtax` compares with.

Owns that another zygote is started; all else is the service as it is. The product itself has no
such switch, on purpose: `/status` of this one says of every layer that it is left out.
"""

from __future__ import annotations

from supervisor.__main__ import main
from supervisor.workers import zygote

if __name__ == "__main__":
    zygote.MODULE = "scripts.benchmarks.unjailed_zygote"
    main()
