"""The trusted process: tracking API, durable queue, scheduler, worker pools, admin API."""

from importlib.metadata import PackageNotFoundError, version

try:
    VERSION = version("bulkhead-supervisor")
except PackageNotFoundError:  # run from a source tree that nobody installed
    VERSION = "0+source"
