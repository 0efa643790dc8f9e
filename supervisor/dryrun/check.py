"""What `bulkhead check` asks of workers, without a service: destinations, settings, the jail.

Owns the workers of one command, from their zygote to their end. What is made of the answers is
`check_report.py`'s.
"""

from __future__ import annotations

from supervisor.catalog.catalog import declare_all
from supervisor.catalog.probe import Declarations, ignore_exit
from supervisor.config import Config
from supervisor.dryrun import jail_selftest
from supervisor.dryrun.code import kept_for_command
from supervisor.dryrun.jail_selftest import Attempt
from supervisor.workers.fleet import WorkerFleet
from supervisor.workers.resources.provision import WorkerResources
from supervisor.workers.spawn import pool_spec_of
from supervisor.workers.zygote import become_subreaper


async def check_destinations(config: Config) -> Declarations:
    """Import every destination of `config` in a jailed worker and check all settings; no service.

    Raises ConfigError for plugin folders that cannot be kept. Must run on an event loop in a
    process that has no other children.
    """
    become_subreaper()
    with kept_for_command(config) as code:
        fleet = WorkerFleet(WorkerResources.of_command(config.service.state_dir))
        fleet.start()
        try:
            said = await declare_all(code.running(config), fleet, ignore_exit)
        finally:
            await fleet.stop(5.0)
        said.shielded = code.left_out
        return said


async def run_selftest(config: Config) -> list[Attempt]:
    """Have a worker run the attack list against its own jail. Raises SelftestFailed.

    Must run on an event loop in a process that has no other children.
    """
    become_subreaper()
    fleet = WorkerFleet(WorkerResources.of_command(config.service.state_dir))
    fleet.start()
    try:
        return await jail_selftest.run_selftest(
            fleet, pool_spec_of(config, next(iter(config.pools)), {})
        )
    finally:
        await fleet.stop(5.0)
