"""Who runs in a worker of its own, and for how long.

Owns the placement of each connection: asks for workers, is told of those that came, and gives them
back where they have nothing to do or others wait. Must not know why a connection is trusted or
not, or whose fault a death was.
"""

from __future__ import annotations

from collections.abc import Collection

from supervisor.core.isolation.effects import (
    PlaceConnection,
    ReportTrust,
    RequestWorker,
    ReturnWorker,
)
from supervisor.core.isolation.records import DedicatedWorker, IsolatedConnection, IsolationState
from supervisor.core.placement import SHARED, Placement, TrustState, placement_of

#: Seconds after which a dedicated worker that has nothing to do is given back.
IDLE_S = 5.0
#: Seconds for which an unproven connection keeps its worker while others wait for one.
TURN_S = 1.0


class Dedication:
    """The dedicated workers of one pool."""

    def __init__(self, state: IsolationState) -> None:
        self.workers: dict[int, DedicatedWorker] = {}
        """Each that was ever given to a connection, until it dies."""
        self._state = state

    # --- workers ---

    def came(self, connection: str, worker: int, now: float) -> bool:
        """A worker is there for a connection; False where it was given back before it came."""
        self.workers[worker] = DedicatedWorker(connection, now)
        known = self._state.known.get(connection)
        if known is None or not known.is_claiming:
            return False
        known.placed_at = now
        self._place(connection, known, placement_of(known.trust, worker))
        return True

    def died(self, worker: int) -> str | None:
        """A worker is dead; the connection that it was dedicated to. That waits for another."""
        dedicated = self.workers.pop(worker, None)
        if dedicated is None:
            return None
        known = self._state.known.get(dedicated.connection)
        if known is not None and known.worker == worker:
            self._place(dedicated.connection, known, placement_of(known.trust, None))
        return dedicated.connection

    def is_free(self, worker: int) -> bool:
        """Whether a dedicated worker has no batch."""
        return not self.workers[worker].batches

    # --- trust ---

    def trust(self, connection: str, known: IsolatedConnection, after: TrustState) -> None:
        """Trust in a connection is that from now on: it runs where that says."""
        before = known.trust
        if after is before:
            return
        if after is TrustState.TRUSTED:
            known.unproven_deaths.clear()
            known.apart = None
            self._place(connection, known, SHARED)
            self._return(connection, known)
            self._state.effects.append(ReportTrust(connection))
            return
        self._place(connection, known, placement_of(after, known.worker))
        if before is TrustState.TRUSTED:
            self._request(connection, known)

    def need(self, connection: str, known: IsolatedConnection) -> None:
        """It has something to do for which it needs a worker."""
        if not known.is_claiming:
            self._request(connection, known)

    # --- turns ---

    def finished(self, worker: int, connection: str, now: float) -> None:
        """Between two batches a connection makes room for one that waits for a worker."""
        known = self._state.known.get(connection)
        if (
            known is not None
            and known.worker == worker
            and self._has_had_its_turn(known, now)
            and self._waiting
        ):
            self._give_back(connection, known)

    def ticked(self, would_send: Collection[str], now: float) -> None:
        """Time has passed: idle workers are given back, and asked for where there is work again."""
        # As many are given back for their turn as connections wait now: one that asks in this
        # very tick may find a spare.
        waiting = self._waiting
        for connection, known in self._state.known.items():
            if known.trust is not TrustState.UNPROVEN:
                continue
            if self._is_idle(known, now) or (waiting > 0 and self._has_had_its_turn(known, now)):
                self._give_back(connection, known)
                waiting -= 1
            elif connection in would_send:
                self.need(connection, known)

    @property
    def _waiting(self) -> int:
        """Connections that have asked for a worker and have none."""
        return sum(one.is_claiming and one.worker is None for one in self._state.known.values())

    def _is_idle(self, known: IsolatedConnection, now: float) -> bool:
        return known.worker is not None and self.workers[known.worker].idle_s(now) > IDLE_S

    def _has_had_its_turn(self, known: IsolatedConnection, now: float) -> bool:
        return (
            known.worker is not None
            and self.is_free(known.worker)
            and not known.suspected
            and now - known.placed_at > TURN_S
        )

    # --- inside ---

    def _give_back(self, connection: str, known: IsolatedConnection) -> None:
        """It has no worker of its own from here on; until it is trusted it waits for another."""
        self._place(connection, known, placement_of(known.trust, None))
        self._return(connection, known)

    def _place(self, connection: str, known: IsolatedConnection, placement: Placement) -> None:
        known.placement = placement
        self._state.effects.append(PlaceConnection(connection, placement))

    def _request(self, connection: str, known: IsolatedConnection) -> None:
        known.is_claiming = True
        self._state.effects.append(RequestWorker(connection))

    def _return(self, connection: str, known: IsolatedConnection) -> None:
        if known.is_claiming:
            known.is_claiming = False
            self._state.effects.append(ReturnWorker(connection))
