"""One loop that carries out a pool's effects, in turn.

Owns the order: effects are carried out one after the other, all those of one decision before the
next fact is decided on. Carrying out an effect may add effects and facts, and never runs them
inside itself, so that no decision is met half carried out. Must not know what they are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

Fact = TypeVar("Fact")
Effect = TypeVar("Effect")


class Agenda(Generic[Fact, Effect]):
    """Facts and effects that are due, and from `attach` on the loop that sees to them.

    What a decision or an effect raises is a bug: it reaches the caller that set the loop going, and
    what is left is carried out when the next one does.
    """

    def __init__(self) -> None:
        self._facts: deque[Fact] = deque()
        self._effects: deque[Effect] = deque()
        self._decide: Callable[[Fact], Iterable[Effect]] | None = None
        self._perform: Callable[[Effect], None] | None = None
        self._is_running = False

    def attach(
        self, decide: Callable[[Fact], Iterable[Effect]], perform: Callable[[Effect], None]
    ) -> None:
        """`decide` says what follows from a fact, `perform` carries one effect out."""
        self._decide, self._perform = decide, perform
        self._run()

    def tell(self, fact: Fact) -> None:
        """Something has happened: what follows from it is carried out after what is due."""
        self._facts.append(fact)
        self._run()

    def do(self, effects: Iterable[Effect]) -> None:
        """These are due."""
        self._effects.extend(effects)
        self._run()

    def _run(self) -> None:
        if self._is_running or self._decide is None or self._perform is None:
            return
        self._is_running = True
        try:
            while self._effects or self._facts:
                if self._effects:
                    self._perform(self._effects.popleft())
                else:
                    self._effects.extend(self._decide(self._facts.popleft()))
        finally:
            self._is_running = False
