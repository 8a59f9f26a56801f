"""The results of ``lstm-jax bench`` as JSON, with a schema that others can rely on.

The fields describe themselves: ``lstm-jax bench --schema`` prints the JSON Schema that
is made from them, and every result is checked against it before it is printed.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt

VERSION = 1
"""A change of the meaning of a field raises this number."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Ratio(_Strict):
    """Our time divided by theirs, round by round: below 1, we are faster."""

    median: PositiveFloat
    low: PositiveFloat = Field(description="lower end of the 95% bootstrap interval")
    high: PositiveFloat = Field(description="upper end of the 95% bootstrap interval")


class Entry(_Strict):
    """One library at one shape in one mode."""

    milliseconds: PositiveFloat = Field(description="median over the rounds")
    best_milliseconds: PositiveFloat = Field(description="fastest round")
    rounds: PositiveInt
    ratio: Ratio
    compile_seconds: float | None = Field(description="null if it does not compile")
    device: str


class Row(_Strict):
    """All libraries at one shape in one mode, interleaved in the same rounds."""

    shape: Annotated[list[PositiveInt], Field(min_length=4, max_length=4)] = Field(
        description="B rows, T steps, D inputs, H hidden units"
    )
    mode: Literal["forward", "gradient"] = Field(
        description="gradient: forward and backward, of weights and inputs"
    )
    best_jax_peer: str | None
    best_other: str | None
    libraries: dict[str, Entry] = Field(
        description="lstm_jax first; limit is the arithmetic at the speed of a large "
        "matrix product"
    )


class Results(_Strict):
    """One LSTM layer in float32: time of this library and of others on a machine."""

    schema_version: Literal[1]
    environment: dict[str, Any] = Field(description="machine, devices and versions")
    rows: list[Row]
    geometric_means: dict[str, dict[str, float]] = Field(
        description="mode to best_jax_peer and best_other to the mean ratio of medians"
    )
    missing: dict[str, str] = Field(description="library to the reason it is not there")


def results(
    environment: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    means: Mapping[str, Mapping[str, float]],
    missing: Mapping[str, str],
) -> Results:
    """The results of a benchmark, checked.

    Args:
        environment: of `lstm_jax.bench.machine.environment`.
        rows: of `lstm_jax.bench.one_layer.rows_of`.
        means: geometric means, by mode.
        missing: why libraries are missing.
    """
    entry = lambda found: dict(found) | {"ratio": dataclasses.asdict(found["ratio"])}
    return Results.model_validate(
        {
            "schema_version": VERSION,
            "environment": environment,
            "rows": [
                {
                    "shape": [*row["shape"]],
                    "mode": row["mode"],
                    "best_jax_peer": row["best_jax_peer"],
                    "best_other": row["best_other"],
                    "libraries": {n: entry(e) for n, e in row["contenders"].items()},
                }
                for row in rows
            ],
            "geometric_means": means,
            "missing": missing,
        }
    )
