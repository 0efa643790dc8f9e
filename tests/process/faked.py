"""`bulkhead` for processes under libfaketime, whose `clock_nanosleep` refuses every time (EINVAL).

Owns the way around it: the interpreter sleeps by `select`. Nothing else is changed.
"""

from __future__ import annotations

import select
import time

time.sleep = lambda seconds: select.select([], [], [], float(seconds)) and None

from supervisor.__main__ import main  # noqa: E402 - what it imports has to see the above

if __name__ == "__main__":
    main()
