"""The lines of metrics.jsonl: read, told apart and checked."""

import collections
import json
import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from lstm_jax import files
from lstm_jax.training.run_errors import RunError

TIMES = ("seconds", "time")
"""What a line of the metrics says of when it was made."""
METRICS_BYTES = 2**32
"""metrics.jsonl has so many bytes at the most."""


def read_lines(path: Path, synced: int | None = None) -> list[dict[str, Any]]:
    """All lines of a file of metrics; see `Run.metrics`."""
    try:
        data = files.read_regular(path, METRICS_BYTES)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror}.") from error
    # A killed run may have left half a line at the end.
    whole = data[: data.rfind(b"\n") + 1]
    lines: list[dict[str, Any]] = []
    for number, line in enumerate(whole.split(b"\n")[:-1], 1):
        try:
            lines.append(_parsed(path, number, line))
        except RunError:
            if synced is None or not lines or lines[-1]["step"] < synced:
                raise
            break
    return lines


def _parsed(path, number, text):
    try:
        line = json.loads(text)
        if not isinstance(line, dict) or type(line.get("step")) is not int:
            raise ValueError("it is not an object with a step")
        for name, value in line.items():
            if not isinstance(value, int | float | list | None):
                raise ValueError(f"its {name} is not a number")
    except (ValueError, RecursionError) as error:
        raise RunError(
            f"{path} is corrupt in line {number}: {error}. Delete this line, for "
            f"example with sed -i {number}d {shlex.quote(str(path))}; training "
            f"does not depend on it."
        ) from error
    return line


def is_evaluation(line: Mapping[str, Any]) -> bool:
    """Whether a line of the metrics is an evaluation."""
    return any(name.startswith("valid_") for name in line)


def irregular(
    lines: Sequence[Mapping[str, Any]], step: int, evaluated: Iterable[int] = ()
) -> list[str]:
    """Describes missing or repeated metrics up to a step, in sentences.

    Args:
        lines: the metrics.
        step: the last step to check.
        evaluated: the steps that must have an evaluation.

    >>> irregular([{"step": n, "loss": 1.0} for n in (1, 3, 3)], step=3)
    ['metrics.jsonl has no line for step 2.', 'metrics.jsonl has step 3 twice.']
    """
    steps = lambda kind: collections.Counter(
        line["step"] for line in lines if kind(line) and line["step"] <= step
    )
    trained = steps(lambda line: "loss" in line)
    last = max(trained, default=0)
    said = _irregular(trained, range(1, last), "no line for", "")
    said += _irregular(
        steps(is_evaluation), evaluated, "no validation of", "validated "
    )
    if last < step:
        said.append(f"metrics.jsonl ends at step {last:,}; its curves will have a gap.")
    return said


def _irregular(count, expected, no, kind):
    missing = [step for step in expected if step not in count]
    twice = sorted(step for step in count if count[step] > 1)
    said = []
    if missing:
        said.append(f"metrics.jsonl has {no} {_steps(missing)}.")
    if twice:
        said.append(f"metrics.jsonl has {kind}{_steps(twice)} twice.")
    return said


def _steps(steps):
    first = f"step {steps[0]:,}"
    more = len(steps) - 1
    return f"{first} and {more:,} other steps" if more else first
