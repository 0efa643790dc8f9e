"""The trusted process: tracking API, durable queue, scheduler, worker pools, admin API."""

from pathlib import Path

#: Where `supervisor`, `sandbox` and `destinations` are found, wherever the service was started.
PACKAGES = Path(__file__).resolve().parent.parent

#: The version of the package, too: see pyproject.toml. Looking it up costs each command 20 ms.
VERSION = "0.1.0"
