"""Handlers of the rows that the admin API has by itself.

Owns what each reads of a request and how its answer is put together. Must not decide anything about
deliveries: it asks `Control`. What a viewer is shown of them stands in `viewers.py`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import msgspec
from aiohttp import web

from supervisor.admin import debug, viewers
from supervisor.admin.answers import error_answer, json_answer, name_of
from supervisor.admin.control import Control
from supervisor.admin.dead_letters import (
    Filter,
    JsonObject,
    letter_json,
    read_filter,
    read_page,
)
from supervisor.admin.events import event_json
from supervisor.admin.exits import exit_json, read_exit_page
from supervisor.admin.parameters import read_parameters
from supervisor.admin.plan import plan_json, reload_json
from supervisor.admin.table import Deed, Handler, Route, caller_of, say_done
from supervisor.diagnostics.exits import ExitRecord
from supervisor.errors import NotFound
from supervisor.queue import DeadLetter, Selection
from supervisor.telemetry.metrics import CONTENT_TYPE
from supervisor.telemetry.steps import in_steps

Row = TypeVar("Row", DeadLetter, ExitRecord)

#: Where handlers find what they ask.
CONTROL: web.AppKey[Control] = web.AppKey("control")
#: The rows that answer now.
TABLE: web.AppKey[Callable[[], Sequence[Route]]] = web.AppKey("table")


async def index(request: web.Request) -> web.StreamResponse:
    """What there is."""
    there = request.app[TABLE]()
    return json_answer({"requests": [f"{route.method} {route.path}" for route in there]})


async def health(request: web.Request) -> web.StreamResponse:
    """The process lives."""
    return json_answer({"status": "ok"})


async def ready(request: web.Request) -> web.StreamResponse:
    """It takes events, or 503 and why not."""
    why = request.app[CONTROL].not_ready()
    return json_answer({"status": "ready"}) if why is None else error_answer(503, "not_ready", why)


async def metrics(request: web.Request) -> web.StreamResponse:
    """Prometheus text."""
    page = await request.app[CONTROL].metrics.scrape()
    return web.Response(body=page, headers={"Content-Type": CONTENT_TYPE})


async def status(request: web.Request) -> web.StreamResponse:
    """Pools, workers, queues, books."""
    told = await request.app[CONTROL].status()
    is_viewer = caller_of(request).is_viewer
    # Encoded in steps, too: what goes into the whole are pieces of text.
    queues = [
        msgspec.Raw(msgspec.json.encode(viewers.queue(queue) if is_viewer else queue))
        async for some in in_steps(told.queues)
        for queue in some
    ]
    if is_viewer:
        told = viewers.status(told)
    return json_answer(msgspec.structs.replace(told, queues=queues))


async def books(request: web.Request) -> web.StreamResponse:
    """The books with `pending` counted anew in the store, and those of each connection."""
    audited = await request.app[CONTROL].queue.audit()
    return json_answer(
        {
            "books": audited,
            "balanced": audited.is_balanced,
            "connections": request.app[CONTROL].queue.books_by_connection(),
        }
    )


async def event(request: web.Request) -> web.StreamResponse:
    """Where each delivery of an event is, and how it came there."""
    message_id = name_of(request, "message_id")
    records = await request.app[CONTROL].queue.find(message_id)
    if not records:
        raise NotFound(
            f"no event with the message id {message_id!r} is known: it was never accepted, or "
            "it finished so long ago that it is no longer explainable (queue.history)"
        )
    is_viewer = caller_of(request).is_viewer
    told = await event_json(request.app[CONTROL], records, is_operator=not is_viewer)
    return json_answer(viewers.event(told) if is_viewer else told)


async def dead_letters(request: web.Request) -> web.StreamResponse:
    """A page of dead letters, newest first."""
    page = read_page(list(request.query.items()))
    where = viewers.letters_filter(page.where) if caller_of(request).is_viewer else page.where
    letters = await request.app[CONTROL].queue.dead_letters(
        where, limit=page.limit + 1, after=page.after
    )
    return _page(request, "deadletters", letters, page.limit, letter_json, viewers.letter)


def _page(
    request: web.Request,
    name: str,
    found: Sequence[Row],
    limit: int,
    told: Callable[[Row], JsonObject],
    seen: Callable[[JsonObject], JsonObject],
) -> web.Response:
    """`limit` of what was found, as `seen` by a viewer; one more says that there is a next page."""
    shown = [told(row) for row in found[:limit]]
    return json_answer(
        {
            name: [seen(row) for row in shown] if caller_of(request).is_viewer else shown,
            "next": found[limit - 1].id if len(found) > limit else None,
        }
    )


async def dead_letter(request: web.Request) -> web.StreamResponse:
    """One dead letter with its event."""
    letter_id = name_of(request, "id")
    letter = await request.app[CONTROL].queue.dead_letter(letter_id)
    if letter is None:
        raise NotFound(f"there is no dead letter {letter_id!r}; it may be replayed or dropped")
    return json_answer(letter_json(letter))


async def replay(request: web.Request) -> web.StreamResponse:
    """Dead letters back to pending."""
    asked = read_filter(await request.read())
    done = await request.app[CONTROL].queue.replay(asked.where(), dry_run=asked.dry_run)
    return _selected(request, "replay", asked, done)


async def drop(request: web.Request) -> web.StreamResponse:
    """Dead letters forgotten."""
    asked = read_filter(await request.read())
    done = await request.app[CONTROL].queue.drop(asked.where(), dry_run=asked.dry_run)
    return _selected(request, "drop", asked, done)


async def pause(request: web.Request) -> web.StreamResponse:
    """Hold a connection's queue."""
    return await _by_hand(request, "name", request.app[CONTROL].pause)


async def resume(request: web.Request) -> web.StreamResponse:
    """Let a paused connection go on."""
    return await _by_hand(request, "name", request.app[CONTROL].resume)


async def probe(request: web.Request) -> web.StreamResponse:
    """Let one batch of a connection through now."""
    return await _by_hand(request, "name", request.app[CONTROL].probe)


async def recycle(request: web.Request) -> web.StreamResponse:
    """Drain a worker and replace it."""
    return await _by_hand(request, "id", request.app[CONTROL].recycle)


async def _by_hand(
    request: web.Request, key: str, act: Callable[[str], Awaitable[None]]
) -> web.StreamResponse:
    name = name_of(request, key)
    await act(name)
    say_done(request, Deed(request.path.rpartition("/")[2], name))
    return json_answer({"done": True})


async def workers(request: web.Request) -> web.StreamResponse:
    """The workers of `/status`, flat."""
    pools = request.app[CONTROL].pools()
    if caller_of(request).is_viewer:
        pools = [viewers.pool(pool) for pool in pools]
    return json_answer(
        {
            "workers": [
                {"pool": pool.name, **msgspec.to_builtins(worker)}
                for pool in pools
                for worker in pool.workers
            ]
        }
    )


async def exits(request: web.Request) -> web.StreamResponse:
    """A page of worker exits, newest first."""
    page = read_exit_page(list(request.query.items()))
    found = request.app[CONTROL].exits.list(page.where, limit=page.limit + 1, after=page.after)
    return _page(request, "exits", found, page.limit, exit_json, viewers.exit)


async def exit(request: web.Request) -> web.StreamResponse:
    """One exit with the text of its stacks."""
    exit_id = name_of(request, "id")
    record = request.app[CONTROL].exits.get(exit_id)
    if record is None:
        raise NotFound(f"there is no exit {exit_id!r}: it may be too long ago; see /debug/exits")
    stacks = await asyncio.to_thread(request.app[CONTROL].exits.stacks, record)
    return json_answer(exit_json(record, stacks))


def of_evidence(
    handler: Callable[[debug.DiagnosticsSource, web.Request], Awaitable[web.StreamResponse]],
) -> Handler:
    """A handler of `debug.py` as a row has it."""

    async def bound(request: web.Request) -> web.StreamResponse:
        return await handler(request.app[CONTROL].evidence, request)

    return bound


def _selected(request: web.Request, action: str, asked: Filter, done: Selection) -> web.Response:
    if not asked.dry_run:
        say_done(request, Deed(f"{action} dead letters", asked.in_words(), done.done))
    return json_answer(done)


# --- the config file -------------------------------------------------------


async def plan(request: web.Request) -> web.StreamResponse:
    """What the file on disk would change."""
    read_parameters(list(request.query.items()), ())
    return json_answer(plan_json(await request.app[CONTROL].planner.plan()))


async def reload(request: web.Request) -> web.StreamResponse:
    """Follow the file on disk, and say what changed."""
    outcome = await request.app[CONTROL].planner.reload()
    note = "refused: the running config stays" if outcome.errors else None
    say_done(request, Deed("reload", "the config file", note=note))
    return json_answer(reload_json(outcome))
