"""The trusted process: tracking API, durable queue, scheduler, worker pools, admin API."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

#: Where `supervisor`, `sandbox` and `destinations` are found, wherever the service was started.
PACKAGES = Path(__file__).resolve().parent.parent

try:
    VERSION = version("bulkhead-supervisor")
except PackageNotFoundError:  # run from a source tree that nobody installed
    VERSION = "0+source"
