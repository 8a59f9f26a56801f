"""Decisions from validation: best seeds, early stopping, learning rate, averaging.

All decisions depend only on the monitored values, in order. So a resumed run decides
the same as an uninterrupted run.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Rules:
    """What a run does when validation stops improving.

    Args:
        patience: number of evaluations without a better value after which a seed stops;
            0 means never.
        plateau: number of evaluations without a better value after which the learning
            rate is multiplied by ``decay``; 0 means never. Then the count restarts.
        decay: factor of the learning rate; see ``plateau``.
        non_monotone: averaging starts when a value is worse than the best value of more
            than this many evaluations ago (Merity et al. 2018, algorithm 1); 0 means
            never.
        higher_is_better: whether higher values are better, as for accuracy.
    """

    patience: int = 0
    plateau: int = 0
    decay: float = 1.0
    non_monotone: int = 0
    higher_is_better: bool = False

    @property
    def worst(self) -> float:
        """A value that is worse than every other."""
        return -np.inf if self.higher_is_better else np.inf

    def is_better(self, values: np.ndarray, than: np.ndarray) -> np.ndarray:
        """Which values are better. Equal values are not better."""
        return values > than if self.higher_is_better else values < than


class Validation:
    """The monitored values of a run; each seed is separate.

    >>> validation = Validation(Rules(patience=2), seeds=1)
    >>> [validation.add(step, [loss]).tolist() for step, loss in [(1, 3.0), (2, 4.0)]]
    [[True], [False]]
    >>> validation.best, validation.best_step, validation.has_ended
    (array([3.]), array([1]), array([False]))
    """

    def __init__(self, rules: Rules, seeds: int):
        self.rules = rules
        self.history: list[tuple[int, list[float]]] = []
        self.best = np.full(seeds, rules.worst)
        self.best_step = np.zeros(seeds, int)
        self.rate = np.ones(seeds)
        """Factor of the learning rate of each seed."""
        self.averaging = np.zeros(seeds, bool)
        self.ended_step = np.zeros(seeds, int)
        """The step at which a seed stopped early, or 0."""
        self._since_best = np.zeros(seeds, int)
        self._waited = np.zeros(seeds, int)

    @classmethod
    def replay(cls, rules, seeds, history) -> "Validation":
        """Adds a history of pairs of step and values."""
        self = cls(rules, seeds)
        for step, values in history:
            self.add(step, values)
        return self

    def add(self, step: int, values: Sequence[float]) -> np.ndarray:
        """Adds the values of an evaluation; returns which seeds are at their best.

        A value that is not finite is worse than all others. After early stopping, the
        best of a seed no longer changes.
        """
        rules, now = self.rules, np.array(values, float)
        now = np.where(np.isfinite(now), now, rules.worst)
        better = rules.is_better(now, self.best) & ~self.has_ended
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
        new = self.has_ended & (self.ended_step == 0)
        self.ended_step = np.where(new, step, self.ended_step)
        self.history.append((step, now.tolist()))
        return better

    @property
    def has_ended(self) -> np.ndarray:
        """Which seeds have stopped early."""
        patience = self.rules.patience
        return self._since_best >= (patience or np.inf)

    @property
    def best_seed(self) -> int:
        """The index of the seed with the best value."""
        pick = np.argmax if self.rules.higher_is_better else np.argmin
        return int(pick(self.best))

    def _is_worse_than_long_ago(self, values):
        old = [then for _, then in self.history[: -self.rules.non_monotone]]
        if not old:
            return np.zeros(len(values), bool)
        best = np.max(old, 0) if self.rules.higher_is_better else np.min(old, 0)
        return self.rules.is_better(best, values)
