"""Libraries that do the same work: each is checked, and the right ones are timed.

Each has a process of its own, and they take turns (`lstm_jax.bench.workers`). Where
only one process can use the device, all of them are in the process of the stage.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from lstm_jax.bench import timing
from lstm_jax.bench.race import Pace
from lstm_jax.bench.workers import Absent, BenchError, Build, Worker

SAMPLE = 2**16
"""Values of an array that are compared. Some gradients have 100 million."""


class Here:
    """A `Worker` that is no process."""

    def __init__(self, name: str, build: Build):
        self._name, self._build, self._calls = name, build, {}

    def build(self, *case: Any) -> Any:
        """As `Worker.build`."""
        self._calls = {}
        try:
            self._calls, said = self._build(*case)
        except (ImportError, NotImplementedError) as reason:
            raise Absent(str(reason)) from reason
        except Exception as error:
            raise BenchError(
                f"{self._name} failed with {type(error).__name__}: {error}."
            ) from error
        return said

    def clock(self, name: str) -> Any:
        """As `Worker.clock`."""
        return timing.stopwatch(self._calls[name])

    def close(self) -> None:
        self._calls = {}


class Crew:
    """The contenders by name, each started when it is first asked for."""

    def __init__(self, builds: Mapping[str, Build], one_process: bool):
        self._builds, self._kind = builds, Here if one_process else Worker
        self._workers: dict[str, Any] = {}

    def build(self, name: str, *case: Any) -> Any:
        """What the contender says about the case; see `Worker.build`.

        After an error it starts again with the next case.
        """
        if name not in self._workers:
            self._workers[name] = self._kind(name, self._builds[name])
        try:
            return self._workers[name].build(*case)
        except Absent:
            raise
        except BenchError:
            self._workers.pop(name).close()
            raise

    def clock(self, name: str) -> Any:
        """Times the call ``step`` of what was built last."""
        return self._workers[name].clock("step")

    def close(self) -> None:
        """Ends all processes."""
        while self._workers:
            self._workers.popitem()[1].close()


class Event(NamedTuple):
    """What is raced for."""

    first: str
    """The contender whose time is divided by those of the others."""
    tolerance: float
    """Of the largest value of an array."""
    pace: Pace


def race(
    crew: Crew, names: list[str], right: str, event: Event, *case: Any
) -> Iterator[dict[str, Any]]:
    """A row for every contender: why it is absent or wrong, or how long it takes.

    ``build`` says ``(values, facts)``: arrays to compare with those of ``right``, and
    what else belongs into the row. ``right`` may be one of the names.
    """
    expected, facts = crew.build(right, *case)
    known, errors = {right: facts}, {}
    for name in names:
        row = {"contender": name}
        try:
            if name not in known:
                found, known[name] = crew.build(name, *case)
                errors[name] = differences(found, expected)
        except Absent as reason:
            yield row | {"status": "not available", "reason": str(reason)}
        except BenchError as error:
            yield row | {"status": "failed", "reason": str(error)}
        else:
            wrong = {
                what: error
                for what, error in errors.get(name, {}).items()
                if not error <= event.tolerance
            }
            if wrong:
                del known[name]
                reason = f"differs from {right} by more than {event.tolerance:g}"
                yield row | {"status": "failed", "reason": reason, "differs": wrong}
    clocks = {name: crew.clock(name) for name in names if name in known}
    if not clocks:
        return
    with contextlib.suppress(KeyError):
        clocks = {event.first: clocks.pop(event.first)} | clocks
    seconds = timing.take_turns(clocks, **event.pace._asdict())
    for name, times in seconds.items():
        row = {"contender": name, "milliseconds": 1e3 * float(np.median(times))}
        row |= {"best_milliseconds": 1e3 * float(times.min()), "rounds": len(times)}
        if event.first in seconds:
            row[f"{event.first} / this"] = timing.paired_ratio(
                seconds[event.first], times
            )
        yield row | {"differs": errors.get(name, {})} | known[name]


def differences(
    found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """The largest difference over the largest value, of each array."""
    result = {}
    for name, value in found.items():
        scale = float(np.max(np.abs(expected[name]), initial=0.0)) or 1.0
        error = np.max(np.abs(value - expected[name]), initial=0.0)
        result[name] = float(error / scale)
    return result


def compiled(f: Callable[..., Any], *args: Any) -> tuple[jax.stages.Compiled, float]:
    """``f`` for these arguments, and the seconds until it was ready.

    Unlike `lstm_jax.bench.timing.compile_ahead`, it may come from the cache on disk.
    """
    start = time.perf_counter()
    return jax.jit(f).lower(*args).compile(), time.perf_counter() - start


def sample(a: Any) -> np.ndarray:
    """Values at even distances, of an array of JAX, torch or numpy.

    The distance is odd, so that no column of a table is left out.
    """
    a = a.reshape(-1)
    if (step := len(a) // SAMPLE) > 1:
        a = a[:: step | 1]
    if hasattr(a, "detach"):  # of torch, whose bfloat16 numpy does not know
        a = a.detach().float().cpu().numpy()
    return np.asarray(a).astype(np.float32)
