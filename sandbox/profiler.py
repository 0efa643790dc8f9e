"""A sampling profiler: where the threads of this worker are, many times a second.

Runs in a thread of its own and reads other threads' frames, so that it works
while Python code spins; code in C that keeps the interpreter to itself stops it
too. Costs about the share of one core that its samples take, some 0.1 ms each.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections import Counter
from types import CodeType, FrameType
from typing import Literal

Kind = Literal["speedscope", "collapsed"]

#: Frames of a stack that are told, innermost ones.
MAX_FRAMES = 128

#: A stack, outermost first: each frame's code and the thread's name in front of it.
Stack = tuple[str, tuple[CodeType, ...]]


def profile(kind: Kind, seconds: float, every_s: float) -> str:
    """Sample all threads but this one for `seconds`, each `every_s`; the text of the file."""
    stacks, took_s = sample(seconds, every_s)
    if kind == "collapsed":
        return collapsed(stacks)
    return speedscope(stacks, took_s)


def sample(seconds: float, every_s: float) -> tuple[Counter[Stack], float]:
    """How often each stack was seen, and how many seconds it took to see them."""
    stacks: Counter[Stack] = Counter()
    own = threading.get_ident()
    pause = threading.Event()
    began = time.monotonic()
    due = began
    while (now := time.monotonic()) < began + seconds:
        names = {thread.ident: thread.name for thread in threading.enumerate()}
        for ident, frame in sys._current_frames().items():
            if ident != own:
                stacks[names.get(ident, f"thread {ident}"), _codes(frame)] += 1
        due = max(due + every_s, now)
        pause.wait(max(0.0, due - time.monotonic()))
    return stacks, time.monotonic() - began


def _codes(frame: FrameType | None) -> tuple[CodeType, ...]:
    codes: list[CodeType] = []
    while frame is not None and len(codes) < MAX_FRAMES:
        codes.append(frame.f_code)
        frame = frame.f_back
    return tuple(reversed(codes))


def collapsed(stacks: Counter[Stack]) -> str:
    """Lines of `thread;outer;inner COUNT`, as flame graph tools read them."""
    lines: Counter[str] = Counter()
    for (thread, codes), count in stacks.items():
        lines[";".join([thread, *(f"{c.co_qualname} ({c.co_filename})" for c in codes)])] += count
    return "".join(f"{line} {count}\n" for line, count in sorted(lines.items()))


def speedscope(stacks: Counter[Stack], took_s: float) -> str:
    """A file for https://www.speedscope.app; its format is described in its repository."""
    frames: dict[CodeType, int] = {}
    profiles = []
    for thread in sorted({thread for thread, _ in stacks}):
        own = {codes: count for (name, codes), count in stacks.items() if name == thread}
        total = sum(own.values())
        profiles.append(
            {
                "type": "sampled",
                "name": thread,
                "unit": "seconds",
                "startValue": 0,
                "endValue": took_s,
                "samples": [
                    [frames.setdefault(code, len(frames)) for code in codes] for codes in own
                ],
                "weights": [took_s * count / total for count in own.values()],
            }
        )
    return json.dumps(
        {
            "$schema": "https://www.speedscope.app/file-format-schema.json",
            "exporter": "bulkhead",
            "shared": {
                "frames": [
                    {"name": c.co_qualname, "file": c.co_filename, "line": c.co_firstlineno}
                    for c in frames
                ]
            },
            "profiles": profiles,
        }
    )
