"""Celery prefork with Debian's Redis, started, fed and stopped.

Owns both child processes. Must not know rows or goals.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis

from tests.harness.ports import free_port
from tests.harness.waiting import wait_until

START_TIMEOUT_S = 60.0
DRAIN_TIMEOUT_S = 120.0


class CeleryPeer:
    """A running Celery worker with its broker. Lists of events go in, and are waited for."""

    def __init__(self, broker: redis.Redis, parent: psutil.Process, take: Any) -> None:
        self._broker = broker
        self._parent = parent
        self._take = take  # Any: Celery ships no types

    def send(self, events: Sequence[str]) -> None:
        """Queue one list."""
        self._take.delay(events)

    def wait_until_done(self) -> None:
        """Wait until everything queued was taken and acknowledged."""
        wait_until(lambda: self.backlog() == 0, DRAIN_TIMEOUT_S, "Celery's queue is empty")

    def backlog(self) -> int:
        """Lists that are queued or not acknowledged yet."""
        queued: Any = self._broker.llen("celery")  # Any: typed as awaitable or not
        unacknowledged: Any = self._broker.hlen("unacked")
        return int(queued) + int(unacknowledged)

    def rate(self, events: Sequence[str], lists: int) -> float:
        """Events a second for `lists` lists of `events`, from the first call to the last answer."""
        started = time.monotonic()
        for _ in range(lists):
            self.send(events)
        self.wait_until_done()
        return lists * len(events) / (time.monotonic() - started)

    def rebuild(self) -> None:
        """Nothing: Celery replaces its children itself."""

    def worker_pids(self) -> list[int]:
        """Process ids of the pool's children."""
        return [child.pid for child in self._parent.children()]


@contextlib.contextmanager
def running(
    workers: int, *, stamps: Path | None = None, is_synced: bool = False
) -> Iterator[CeleryPeer]:
    """Redis and Celery with `workers` children; both are gone afterwards.

    `stamps` is a file that gets a line for each list. Redis is as Debian
    configures it, or writes each command to disk first where it `is_synced`.

    Raises RuntimeError, saying what to install, where there is no redis-server.
    """
    server = shutil.which("redis-server")
    if server is None:
        raise RuntimeError("redis-server is missing; as root: apt-get install redis-server")
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="bulkhead-celery-"))
        port = _port()
        options = ["--bind 127.0.0.1"]
        if is_synced:
            options += ["--appendonly yes", "--appendfsync always"]
        stack.enter_context(_child([server, *options, f"--port {port}", f"--dir {directory}"], {}))
        broker = redis.Redis(port=port)
        wait_until(lambda: _answers(broker), START_TIMEOUT_S, "Redis answers")

        url = f"redis://127.0.0.1:{port}/0"
        environment = {"BENCH_BROKER": url}
        if stamps is not None:
            environment["BENCH_STAMPS"] = str(stamps)
        os.environ["BENCH_BROKER"] = url  # celery_app reads it when it is imported
        from scripts.benchmarks import celery_app

        celery_app.app.conf.broker_url = url
        command = [sys.executable, "-m", "celery", "-A", "scripts.benchmarks.celery_app", "worker"]
        command += ["--pool=prefork", f"--concurrency={workers}", "--loglevel=ERROR"]
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        worker = stack.enter_context(_child(command, environment))
        peer = CeleryPeer(broker, psutil.Process(worker.pid), celery_app.task)
        peer.send([])
        wait_until(
            lambda: len(peer.worker_pids()) >= workers and peer.backlog() == 0,
            START_TIMEOUT_S,
            "Celery's workers take tasks",
        )
        yield peer


@functools.cache
def _port() -> int:
    """One port for every Redis of this process: Celery keeps the address it has first used."""
    return free_port()


def _answers(broker: redis.Redis) -> bool:
    try:
        return bool(broker.ping())
    except redis.ConnectionError:
        return False  # it does not listen yet


@contextlib.contextmanager
def _child(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """A child that is asked to end, and killed with its children where it does not."""
    process = subprocess.Popen(
        command,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        children = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
