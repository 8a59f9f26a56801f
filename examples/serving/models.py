"""What the server needs of a model: one step of many rows, as a pure function."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import lstm_jax
from lstm_jax import LSTMCell, Stack
from lstm_jax.config import ConfigError
from lstm_jax.models.language_model import LanguageModel
from lstm_jax.training.run_errors import RunError

LARGEST = 1e6
"""Larger inputs are refused: they could overflow in float32."""


class Model(NamedTuple):
    """A streaming model.

    ``step(params, carry, xs [B, D])`` returns ``(carry, ys [B, O])``. The rows are the
    first axis of every array of the carry.
    """

    name: str
    params: Any
    in_size: int
    out_size: int
    zero_carry: Callable[[int], Any]
    step: Callable[[Any, Any, jax.Array], tuple[Any, jax.Array]]
    check: Callable[[np.ndarray], str | None]
    """Says what is wrong with inputs ``[T, D]``; ``None`` if nothing is."""


def demo(layers: int = 2, units: int = 256, in_size: int = 64, seed: int = 0) -> Model:
    """A stack of LSTM layers with random weights."""
    stack = Stack([LSTMCell(units)] * layers)

    def step(params, carry, xs):
        carry, hs = stack(params, carry, xs[None], implementation="scan")
        return carry, hs[0]

    return Model(
        name=f"{layers} x {units} LSTM with random weights",
        params=stack.init(jax.random.key(seed), in_size),
        in_size=in_size,
        out_size=units,
        zero_carry=lambda rows: stack.zero_carry(in_size, (rows,)),
        step=step,
        check=too_large,
    )


def too_large(xs: np.ndarray) -> str | None:
    """Refuses NaN, infinities and very large numbers."""
    if np.isfinite(xs).all() and (np.abs(xs) <= LARGEST).all():
        return None
    return f"inputs has a value that is not between -{LARGEST:g} and {LARGEST:g}."


def of_run(folder: str) -> Model:
    """The language model of a run: a step reads a token and returns logits."""
    try:
        run = lstm_jax.load_run(folder)
    except (RunError, ConfigError) as error:
        raise SystemExit(str(error)) from error
    if not isinstance(run.model, LanguageModel):
        raise SystemExit(
            f"{folder} is a run of the task {run.config.task}; pass the folder of a "
            f"run of the task language_model, or --demo."
        )
    return language_model(
        f"language model {Path(folder).name}", run.task.model, run.params
    )


def language_model(name: str, build: Callable[[Any], Any], params: Any) -> Model:
    """A `LanguageModel` that ``build(params)`` returns in evaluation mode."""
    model = build(params)
    size = model.vocabulary_size

    def step(params, carry, xs):
        tokens = xs[:, 0].astype(jnp.int32)
        carry, logits = build(params)(tokens[None], carry)
        return carry, logits[0]

    def check(xs):
        if ((xs >= 0) & (xs < size) & (xs == np.floor(xs))).all():
            return None
        return f"inputs has a value that is not a token, a whole number below {size}."

    zeros = lambda rows: model.init_carry((rows,))
    return Model(name, params, 1, size, zeros, step, check)
