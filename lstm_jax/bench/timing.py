"""Times that can be compared on a machine that is never quiet.

Everything under comparison takes turns: each round calls everything once, so that a
slow minute of the machine falls on all of it alike. Ratios are taken within a round and
their median is reported, with a bootstrap interval.
"""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

SHORT = 0.02
"""Seconds. Calls below this are repeated for so long before they are timed: what ran
before left its own data in the caches, and its threads may still spin for work."""


@dataclasses.dataclass(frozen=True)
class Ratio:
    """A median with its 95% interval."""

    median: float
    low: float
    high: float

    def __str__(self):
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compile_ahead(
    f: Callable[..., Any], *args: Any
) -> tuple[jax.stages.Compiled, float]:
    """``f`` compiled for ``args``, and the seconds that tracing and compiling took."""
    # Without this, whoever comes second finds the shared functions already traced.
    jax.clear_caches()
    start = time.perf_counter()
    compiled = jax.jit(f).lower(*args).compile()
    return compiled, time.perf_counter() - start


def stopwatch(call: Callable[[], Any]) -> Callable[[], float]:
    """Times a call; a short one is repeated first until it is warm."""
    short = seconds(call) < SHORT

    def clock():
        if short:
            _warm(call)
        return seconds(call)

    return clock


def interleave(
    calls: dict[str, Callable[[], Any]], repeats: int, **options: Any
) -> dict[str, np.ndarray]:
    """`take_turns` with calls of this process."""
    clocks = {name: stopwatch(call) for name, call in calls.items()}
    return take_turns(clocks, repeats, **options)


def take_turns(
    clocks: dict[str, Callable[[], float]],
    repeats: int,
    *,
    at_least: int = 15,
    budget: float = 120.0,
) -> dict[str, np.ndarray]:
    """Seconds that every clock says in every round, ``{name: [rounds]}``.

    There are ``repeats`` rounds, or fewer once ``budget`` seconds are spent, but never
    fewer than ``at_least`` of them unless ``repeats`` is smaller.
    """
    names = list(clocks)
    order = np.random.default_rng(0)
    rounds: list[dict[str, float]] = []
    start = time.perf_counter()
    while len(rounds) < repeats:
        if len(rounds) >= at_least and time.perf_counter() - start > budget:
            break
        # In a new order every time, so that nobody always follows the same neighbour.
        rounds.append({str(name): clocks[name]() for name in order.permutation(names)})
    return {name: np.array([timed[name] for timed in rounds]) for name in names}


def paired_ratio(ours: np.ndarray, theirs: np.ndarray, draws: int = 10_000) -> Ratio:
    """Median of ``ours / theirs`` round by round; the interval is a bootstrap's."""
    ratios = ours / theirs
    pick = np.random.default_rng(0).integers(len(ratios), size=(draws, len(ratios)))
    low, high = np.quantile(np.median(ratios[pick], axis=1), [0.025, 0.975])
    return Ratio(float(np.median(ratios)), float(low), float(high))


def geometric_mean(values: list[float]) -> float:
    return float(np.exp(np.mean(np.log(values))))


def _warm(call):
    end = time.perf_counter() + SHORT
    while time.perf_counter() < end:
        call()
