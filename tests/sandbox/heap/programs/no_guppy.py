"""An interpreter that guppy was not built for."""

from __future__ import annotations

import sys
from typing import Any


class Unfit:
    def find_spec(self, name: str, path: object, target: object = None) -> Any:
        if name.partition(".")[0] == "guppy":
            raise ImportError("undefined symbol: _PyInterpreterFrame")
        return None


class Thing:
    pass


KEPT = [Thing() for _ in range(10)]


async def main() -> None:
    sys.meta_path.insert(0, Unfit())
