"""`python -m supervisor.dryrun.one_event`: one event through a jailed worker, for a service.

A process of its own: what a destination does to the stand-ins of its partner's servers, it does to
this process, which is bounded and killed by who started it, and never to the service. It is given
an order on standard input by the service itself, and writes one line of JSON on standard output.
No secret of the connection is in that line, in whatever form.
"""

from __future__ import annotations

import logging
import os
import pickle
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec
import uvloop

from supervisor.config import ConfigError
from supervisor.dryrun.dry_run import DryRun, DryRunFailed, deliver_once
from supervisor.dryrun.hiding import hiding
from supervisor.dryrun.order import (
    MAX_LINE_BYTES,
    OneEventOrder,
    OneEventResult,
    ShownAnswer,
    ShownRequest,
)
from supervisor.insight.names import is_secret
from supervisor.tapes.scrub import Mask
from supervisor.tapes.tape import Answer, Call, Headers, text_of
from supervisor.telemetry import log
from supervisor.workers.zygote import hide_memory

#: Requests that are told, and characters of each text, at most.
MOST_REQUESTS, MAX_SHOWN = 50, 16 * 1024
#: Characters of a text that are looked at: a secret that the cut goes through is hidden before it.
MAX_LOOKED_AT = 4 * MAX_SHOWN
#: Seconds after which it ends itself, whatever has become of who started it.
LAST_S = 40


def main() -> int:
    """Carry out the order; returns the exit status."""
    signal.alarm(LAST_S)
    os.umask(0o077)
    hide_memory()
    order: OneEventOrder = pickle.load(sys.stdin.buffer)  # noqa: S301 - the service's own
    secrets = [*order.secrets.values(), *_named_secrets(order.connection.settings)]
    log.configure(secrets, level=logging.CRITICAL)
    told = _run(order, hiding(secrets))
    line = msgspec.json.encode(told)
    if len(line) > MAX_LINE_BYTES:
        line = msgspec.json.encode(OneEventResult(error="its requests are too long to be shown"))
    sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
    return 0


def _run(order: OneEventOrder, redact: log.Redactor) -> OneEventResult:
    try:
        run = uvloop.run(
            deliver_once(
                order.config,
                order.connection,
                [order.event],
                is_live=order.is_live,
                code=order.code,
            )
        )
    except DryRunFailed as error:
        return OneEventResult(error=redact(str(error)))
    except ConfigError as error:
        return OneEventResult(error=redact("; ".join(error.errors)))
    except OSError as error:
        return OneEventResult(error=f"no worker can be started here: {error.strerror or error}")
    return _shown(order, run, redact)


def _shown(order: OneEventOrder, run: DryRun, redact: log.Redactor) -> OneEventResult:
    mask = Mask(order.connection.settings, order.secrets, run.kept.exchanges)

    def cut(given: str) -> str:
        return redact(given[:MAX_LOOKED_AT])[:MAX_SHOWN]

    def text(given: str) -> str:
        return cut(mask.text(given))

    def headers(given: Headers) -> dict[str, str]:
        return {cut(name): cut(value) for name, value in given}

    def request(call: Call) -> ShownRequest:
        shown = mask.call(call)
        return ShownRequest(
            shown.method,
            cut(shown.url),
            headers(shown.headers),
            cut(text_of(shown.body)),
        )

    def answer(given: Answer | str) -> ShownAnswer:
        if isinstance(given, str):
            return ShownAnswer(error=text(given))
        shown = mask.answer(given)
        return ShownAnswer(shown.status, headers(shown.headers), cut(text_of(shown.body)))

    (result,) = run.outcomes
    calls = run.kept.calls[:MOST_REQUESTS]
    return OneEventResult(
        outcome=result.outcome,
        detail=text(result.detail),
        requests=[request(call) for call, _ in calls],
        answers=[answer(given) for _, given in calls],
        more_requests=len(run.kept.calls) - len(calls),
        raised=[text(raised) for raised in run.tracebacks[:3]],
    )


def _named_secrets(settings: Mapping[str, Any] | Sequence[Any]) -> Iterator[str]:
    """Values of settings that are named like secrets. Any: the destination's schema decides."""
    pairs = settings.items() if isinstance(settings, Mapping) else enumerate(settings)
    for name, value in pairs:
        if isinstance(value, str) and is_secret(str(name)):
            yield value
        elif isinstance(value, Mapping | list):
            yield from _named_secrets(value)


if __name__ == "__main__":
    sys.exit(main())
