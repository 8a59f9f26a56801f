"""What validation has shown so far, and what follows from it.

Everything here is a function of the losses in order, so that a run that goes on needs
no more than these to decide as if it had never stopped.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Rules:
    """How a run answers to its validation losses.

    Args:
        patience: evaluations without a better one after which a run stops; 0: never.
        plateau: likewise, after which the learning rate is multiplied by ``decay``; 0:
            never. It then waits as long again.
        decay: see ``plateau``.
        non_monotone: averaging starts with a loss above the best of those more than so
            many evaluations ago (Merity et al. 2018, algorithm 1); 0: never.
    """

    patience: int = 0
    plateau: int = 0
    decay: float = 1.0
    non_monotone: int = 0


class Validation:
    """The validation losses of a run, of every seed for itself.

    >>> validation = Validation(Rules(patience=2), seeds=1)
    >>> [validation.add(step, [loss]).tolist() for step, loss in [(1, 3.0), (2, 4.0)]]
    [[True], [False]]
    >>> validation.best, validation.best_step, validation.has_ended
    (array([3.]), array([1]), array([False]))
    """

    def __init__(self, rules: Rules, seeds: int):
        self.rules = rules
        self.history: list[tuple[int, list[float]]] = []
        self.best = np.full(seeds, np.inf)
        self.best_step = np.zeros(seeds, int)
        self.rate = np.ones(seeds)
        """Factors of the learning rates."""
        self.averaging = np.zeros(seeds, bool)
        self._since_best = np.zeros(seeds, int)
        self._waited = np.zeros(seeds, int)

    @classmethod
    def replay(cls, rules, seeds, history) -> "Validation":
        """What these losses have shown, pairs of step and losses."""
        self = cls(rules, seeds)
        for step, losses in history:
            self.add(step, losses)
        return self

    def add(self, step: int, losses: Sequence[float]) -> np.ndarray:
        """Takes in the losses of an evaluation; returns which seeds are at their best.

        A seed whose patience has ended is not at its best any more, so that its best is
        the one it would have stopped with alone.
        """
        rules, now = self.rules, np.array(losses, float)
        better = (now < self.best) & ~self.has_ended
        if rules.non_monotone:
            self.averaging |= self._is_worse_than_long_ago(now)
        self.best = np.where(better, now, self.best)
        self.best_step = np.where(better, step, self.best_step)
        self._since_best = np.where(better, 0, self._since_best + 1)
        self._waited = np.where(better, 0, self._waited + 1)
        if rules.plateau:
            fall = self._waited >= rules.plateau
            self.rate = np.where(fall, self.rate * rules.decay, self.rate)
            self._waited = np.where(fall, 0, self._waited)
        self.history.append((step, now.tolist()))
        return better

    @property
    def has_ended(self) -> np.ndarray:
        """With which seeds the patience has ended."""
        patience = self.rules.patience
        return self._since_best >= (patience or np.inf)

    def _is_worse_than_long_ago(self, losses):
        old = [losses for _, losses in self.history[: -self.rules.non_monotone]]
        return losses > np.min(old, axis=0) if old else np.zeros(len(losses), bool)
