"""What `bulkhead check` asks of workers, without a service: destinations, settings, the jail.

Owns the workers of one command, from their zygote to their end. What is made of the answers is
`check_report.py`'s.
"""

from __future__ import annotations

from supervisor.catalog.catalog import declare_all
from supervisor.catalog.probe import Declarations, keep_nothing
from supervisor.config import Config
from supervisor.dryrun import jail_selftest
from supervisor.dryrun.jail_selftest import Attempt
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.spawn import pool_spec_of
from supervisor.workers.zygote import become_subreaper


async def check_destinations(config: Config) -> Declarations:
    """Import every destination of `config` in a jailed worker and check all settings; no service.

    Must run on an event loop in a process that has no other children.
    """
    become_subreaper()
    fleet = WorkerFleet(WorkerResources.of_command(config.service.state_dir))
    fleet.start()
    try:
        return await declare_all(config, fleet, keep_nothing)
    finally:
        await fleet.stop(5.0)


async def try_jail(config: Config) -> list[Attempt]:
    """Have a worker try the attack list against its own jail. Raises SelftestFailed.

    Must run on an event loop in a process that has no other children.
    """
    become_subreaper()
    fleet = WorkerFleet(WorkerResources.of_command(config.service.state_dir))
    fleet.start()
    try:
        return await jail_selftest.try_jail(
            fleet, pool_spec_of(config, next(iter(config.pools)), {})
        )
    finally:
        await fleet.stop(5.0)
