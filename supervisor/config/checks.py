"""What must hold between the sections of a config.

Owns the relations: what is named exists, limits fit together, nothing is
there twice. Pure; `sections.py` has judged each value by itself already, and
what it could not read is None here and blamed no further.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import NamedTuple

from supervisor.config.secrets import key_path
from supervisor.config.types import (
    ANY_DESTINATION,
    Admin,
    Api,
    Connection,
    DestinationClass,
    Pool,
    QueueConfig,
    Retry,
    Source,
)
from supervisor.config.values import did_you_mean

#: Takes the key path at fault, and what is wrong.
Note = Callable[[str, str], None]


#: Least length of a token, in characters, where there are two.
LEAST_TOKEN = 16


class Draft(NamedTuple):
    """The sections as far as they could be read; None is one with errors of its own."""

    api: Api | None
    admin: Admin | None
    queue: QueueConfig | None
    retry: Retry | None
    pools: Mapping[str, Pool | None]
    sources: Mapping[str, Source | None]
    connections: Mapping[str, Connection | None]
    destinations: Mapping[str, DestinationClass | None]


def check(draft: Draft, builtin: Collection[str], note: Note) -> None:
    """Note everything that does not fit together. `builtin` are the built-in destinations."""
    _api(draft, note)
    _admin(draft, note)
    _retry(draft, note)
    _write_keys(draft, note)
    for name in draft.destinations:
        if name in builtin:
            note(
                key_path(("destinations", name)),
                "is the name of a built-in destination; choose another",
            )
    _pools(draft, builtin, note)
    _connections(draft, builtin, note)


def _api(draft: Draft, note: Note) -> None:
    if draft.api and draft.api.max_event > draft.api.max_request:
        note(
            "api.max_event",
            "is above api.max_request, so that the largest events could not be sent; "
            "lower it, or raise max_request",
        )
    if draft.api and draft.queue and draft.api.max_request > draft.queue.max_pending:
        note(
            "queue.max_pending",
            "is below api.max_request, so that one request would not fit; raise it",
        )


def _admin(draft: Draft, note: Note) -> None:
    admin = draft.admin
    if admin and not admin.listen.is_local and admin.token is None:
        note(
            "admin.token",
            f"is required where others can reach the admin API ({admin.listen}); "
            'set token = { env = "BULKHEAD_ADMIN_TOKEN" }, or listen on 127.0.0.1 or unix:PATH',
        )
    if admin and draft.api and admin.listen == draft.api.listen:
        note("admin.listen", "is the address of api.listen; choose another port")
    if admin and admin.view_token is not None:
        _view_token(admin, admin.view_token, note)


def _view_token(admin: Admin, view_token: str, note: Note) -> None:
    """A viewer must not be able to become an operator, by guessing or by leaving the token out."""
    if admin.token is None:
        note(
            "admin.view_token",
            "is set without admin.token, so that a caller without any token would be an operator; "
            "set both",
        )
        return
    if view_token == admin.token:
        note("admin.view_token", "is admin.token too, so that viewers would be operators; make two")
    for key, token in (("admin.token", admin.token), ("admin.view_token", view_token)):
        if len(token) < LEAST_TOKEN:
            note(
                key,
                f"is shorter than {LEAST_TOKEN} characters, and whoever has one of two tokens may "
                "try to guess the other; make one with: openssl rand -hex 16",
            )


def _retry(draft: Draft, note: Note) -> None:
    if draft.retry and draft.retry.first_delay_s > draft.retry.max_delay_s:
        note("retry.first_delay", "is above retry.max_delay; lower it, or raise max_delay")


def _write_keys(draft: Draft, note: Note) -> None:
    owners: dict[str, str] = {}
    for source in draft.sources.values():
        if source is None:
            continue
        for key in source.write_keys:
            # The key itself is not printed: it may be a secret.
            if key in owners:
                note(
                    key_path(("sources", source.name)),
                    f"has a write key of {key_path(('sources', owners[key]))} too; "
                    "a write key belongs to one source",
                )
            else:
                owners[key] = source.name


def _pools(draft: Draft, builtin: Collection[str], note: Note) -> None:
    known = {*builtin, *draft.destinations}
    owners: dict[str, str] = {}
    for pool in draft.pools.values():
        if pool is None:
            continue
        for index, destination in enumerate(pool.destinations):
            here = key_path(("pools", pool.name, "destinations", index))
            if destination in owners:
                note(
                    here,
                    f'"{destination}" is in {key_path(("pools", owners[destination]))} too; '
                    "a destination runs in one pool",
                )
            elif destination != ANY_DESTINATION and destination not in known:
                note(here, _unknown("destination", destination, known))
            owners.setdefault(destination, pool.name)
        if pool.memory_soft_limit >= pool.memory_limit:
            note(
                key_path(("pools", pool.name, "memory_soft_limit")),
                "is not below memory_limit, so that no worker would be replaced in time; lower it",
            )


def _connections(draft: Draft, builtin: Collection[str], note: Note) -> None:
    known = {*builtin, *draft.destinations}
    pooled = {name for pool in draft.pools.values() if pool for name in pool.destinations}
    # A pool that could not be read may be the one that runs the destination.
    all_pools_read = None not in draft.pools.values()
    for connection in draft.connections.values():
        if connection is None:
            continue
        at = ("connections", connection.name)
        if connection.source not in draft.sources:
            note(key_path((*at, "source")), _unknown("source", connection.source, draft.sources))
        if connection.destination not in known:
            note(
                key_path((*at, "destination")),
                _unknown("destination", connection.destination, known),
            )
        elif all_pools_read and not {connection.destination, ANY_DESTINATION} & pooled:
            note(
                key_path((*at, "destination")),
                f'"{connection.destination}" is in no pool; add it to the destinations of one, '
                'or give one pool destinations = ["*"]',
            )
        if (
            draft.queue
            and connection.max_backlog is not None
            and connection.max_backlog > draft.queue.max_pending
        ):
            note(
                key_path((*at, "max_backlog")),
                "is above queue.max_pending, the budget of all connections together; lower it",
            )


def _unknown(kind: str, name: str, known: Collection[str]) -> str:
    """What to say of a name that nothing has. `name` may be long, and is cut."""
    listed = ", ".join(sorted(known)[:20]) or "none"
    return (
        f'there is no {kind} "{name[:60]}"{did_you_mean(name, known)}; '
        f"known {kind}s: {listed}; add [{kind}s.NAME] or name one of them"
    )
