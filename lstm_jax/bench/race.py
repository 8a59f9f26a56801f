"""Contenders that compute the same thing, checked against each other and then timed."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from lstm_jax.bench import timing
from lstm_jax.bench.workers import Absent, BenchError, Worker


class Pace(NamedTuple):
    """How long to measure; see `lstm_jax.bench.timing.take_turns`."""

    repeats: int = 31
    budget: float = 120.0
    at_least: int = 15


class Contender(NamedTuple):
    """A library at one case, compiled, in its own process."""

    clocks: dict[str, Callable[[], float]]
    values: dict[str, np.ndarray]
    compile_seconds: dict[str, float | None]
    device: str


def contend(
    workers: dict[str, Worker], *case: Any, tolerance: float | None = None
) -> tuple[dict[str, Contender], dict[str, str]]:
    """Everyone at this case, compiled and found correct, and why others are absent.

    ``build`` of a worker says ``(values, compile_seconds, device)``; its calls are
    named by ``compile_seconds``. The first of the workers is right.
    """
    contenders, absent = {}, {}
    for name, worker in workers.items():
        try:
            values, compile_seconds, device = worker.build(*case)
        except Absent as reason:
            absent[name] = str(reason)
            continue
        clocks = {mode: worker.clock(mode) for mode in compile_seconds}
        contenders[name] = Contender(clocks, values, compile_seconds, device)
    check({name: contender.values for name, contender in contenders.items()}, tolerance)
    return contenders, absent


def check(
    values: dict[str, dict[str, np.ndarray]], tolerance: float | None = None
) -> None:
    """Values are those of the first; whoever computes something else is not timed.

    The tolerance is of the largest value, by default one for float32.
    """
    if tolerance is None:
        # GPUs may multiply in TF32, with 10 bits, and sum thousands of steps of it.
        tolerance = 1e-3 if jax.default_backend() == "cpu" else 3e-2
    first = next(iter(values))
    for name, found in values.items():
        for what, value in found.items():
            expected = values[first][what]
            # After one step from zeros the gradient of w_h is 0.
            scale = np.max(np.abs(expected), initial=0.0) or 1.0
            error = np.max(np.abs(value - expected), initial=0.0) / scale
            if not error <= tolerance:
                raise BenchError(
                    f"{name} differs from {first} in {what} by {error:.1e}."
                )


def measure(
    mode: str,
    contenders: dict[str, Contender],
    pace: Pace,
    scale: dict[str, float] | None = None,
) -> dict[str, dict[str, Any]]:
    """`results` of `times` of this mode.

    Seconds of a name in ``scale`` count so many times.
    """
    seconds = times(mode, contenders, pace)
    for name, factor in (scale or {}).items():
        seconds[name] = factor * seconds[name]
    return results(mode, contenders, seconds)


def times(
    mode: str, contenders: dict[str, Contender], pace: Pace
) -> dict[str, np.ndarray]:
    """Seconds of every round by those who have this mode, by name."""
    clocks = {n: c.clocks[mode] for n, c in contenders.items() if mode in c.clocks}
    return timing.take_turns(clocks, **pace._asdict())


def results(
    mode: str, contenders: dict[str, Contender], seconds: dict[str, np.ndarray]
) -> dict[str, dict[str, Any]]:
    """Medians, and ratios of the first contender's times to theirs, by name."""
    first = next(iter(seconds))
    return {
        name: dict(
            milliseconds=1e3 * float(np.median(seconds[name])),
            best_milliseconds=1e3 * float(np.min(seconds[name])),
            rounds=len(seconds[name]),
            ratio=timing.paired_ratio(seconds[first], seconds[name]),
            compile_seconds=contenders[name].compile_seconds[mode],
            device=contenders[name].device,
        )
        for name in seconds
    }


def fastest(found: dict[str, dict[str, Any]], names: Any) -> str | None:
    """Of these names the one with the shortest median, if any is there."""
    there = (name for name in names if name in found)
    return min(there, key=lambda name: found[name]["milliseconds"], default=None)
