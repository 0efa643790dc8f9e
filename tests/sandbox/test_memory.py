"""The reserve for the moment in which memory is used up, and how that moment is known."""

from __future__ import annotations

import subprocess
import sys

import pytest

from sandbox.memory import is_want_of_memory

RELEASE = """
import resource
from sandbox.memory import MemoryReserve
reserve = MemoryReserve()
_, hard = resource.getrlimit(resource.RLIMIT_DATA)
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 31))
assert reserve.is_whole
reserve.release()
assert not reserve.is_whole
assert resource.getrlimit(resource.RLIMIT_DATA) == (1 << 31, 1 << 31)
reserve.release()
"""


def test_a_release_raises_the_soft_limit_to_the_hard_one() -> None:
    """Once and again: it costs nothing to release what is gone. In a process of its own."""
    subprocess.run([sys.executable, "-c", RELEASE], check=True, timeout=60)


def raised(error: BaseException, cause: BaseException | None = None) -> BaseException:
    """An exception as it is after `raise error from cause`."""
    error.__cause__ = cause
    return error


def circle() -> BaseException:
    """Two exceptions that are each other's context."""
    one, two = ValueError(), KeyError()
    one.__context__, two.__context__ = two, one
    return one


@pytest.mark.parametrize(
    ("error", "is_want"),
    [
        (MemoryError(), True),
        (raised(ValueError(), MemoryError()), True),
        (raised(ValueError(), raised(KeyError(), MemoryError())), True),
        (BaseExceptionGroup("several", [ValueError(), MemoryError()]), True),
        (
            raised(OSError(), BaseExceptionGroup("several", [raised(ValueError(), MemoryError())])),
            True,
        ),
        (ValueError(), False),
        (circle(), False),
        (ExceptionGroup("several", [ValueError(), OSError()]), False),
    ],
    ids=range(8),
)
def test_a_memory_error_is_found_wherever_it_stands(error: BaseException, is_want: bool) -> None:
    """As cause, as context, in a group; a circle of contexts ends."""
    assert is_want_of_memory(error) is is_want
