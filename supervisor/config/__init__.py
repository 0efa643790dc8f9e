"""The config: its types, its loader, its errors.

Owns what a config file may say and turns one into a `Config`, or into the list
of everything that is wrong with it. Must not open sockets, import destinations
or know what a destination's settings mean.

    types     what a loaded config is, with all defaults
    values    notation of sizes, durations, rates, addresses
    secrets   references to the environment and to files
    sections  the keys of each section and their ranges
    checks    what must hold between sections
    places    where paths lead, and that none leads workers to what is not theirs
    loader    the steps from file to Config
"""

from supervisor.config.loader import builtin_destinations, installed_plugins, load
from supervisor.config.types import (
    Address,
    Admin,
    Api,
    Config,
    ConfigError,
    Connection,
    Console,
    DestinationClass,
    Pool,
    QueueConfig,
    Retry,
    Sandbox,
    Service,
    Source,
    Struct,
)

__all__ = [
    "Address",
    "Admin",
    "Api",
    "Config",
    "ConfigError",
    "Connection",
    "Console",
    "DestinationClass",
    "Pool",
    "QueueConfig",
    "Retry",
    "Sandbox",
    "Service",
    "Source",
    "Struct",
    "builtin_destinations",
    "installed_plugins",
    "load",
]
