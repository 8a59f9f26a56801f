"""The loss of a language model on a long stream of tokens, with what helps it there."""

import functools
from collections.abc import Callable
from typing import Annotated, Any

import jax
import jax.numpy as jnp
import numpy as np
from pydantic import Field, NonNegativeInt, PositiveInt

from lstm_jax._types import PyTree
from lstm_jax.config import Count, Weight, config
from lstm_jax.data.text import DataError
from lstm_jax.inference import (
    Cache,
    cache_nats,
    dynamic_nats,
    gradient_squares,
    stream_losses,
    stream_nats,
)
from lstm_jax.models.language_model import LanguageModel

LOGITS = 2**22
"""In memory at a time, at the most."""
CACHE_WINDOW = 1024
"""Tokens between two looks at the cache, at the most."""
SHORTEST_ROW = 32
"""Tokens in a row of a stream, at least."""


@config
class StreamConfig:
    """How a split of the text is evaluated."""

    batch_size: Count = 8
    """Rows of a batch. The split is read in so many rows; the results do not change."""
    context: NonNegativeInt = 256
    """Tokens that a row reads first, to guess the last state of the row before it."""
    dynamic_rate: Weight = 0.0
    """Learning rate of dynamic evaluation; 0 turns it off. It is slow, and meant for
    `lstm-jax evaluate RUN evaluation.dynamic_rate=RATE`."""
    dynamic_decay: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Decay of dynamic evaluation towards the trained parameters, in every step."""
    dynamic_segment: Count = 5
    """Tokens in a step of dynamic evaluation."""
    dynamic_tokens: PositiveInt = 50_000
    """Training tokens that measure the gradients by which dynamic evaluation scales its
    learning rates."""
    cache_size: NonNegativeInt = 0
    """Tokens that the continuous cache remembers; 0 turns it off."""
    cache_theta: Weight = 0.3
    """How much likelier a token is that followed a similar state."""
    cache_share: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Weight of the cache in the prediction."""

    def __post_init__(self):
        if self.cache_size and self.dynamic_rate:
            raise ValueError(
                f"cache_size={self.cache_size} and dynamic_rate={self.dynamic_rate} "
                f"cannot be used together; set one of them to 0"
            )
        if self.dynamic_decay and not self.dynamic_rate:
            raise ValueError(
                "dynamic_decay does nothing without dynamic_rate; set both, or neither"
            )


class StreamEvaluation:
    """Mean nats of the tokens of a stream but the first.

    Args:
        config: see `StreamConfig`.
        model: parameters to model.
        training_tokens: returns the tokens of the train split ``[N, B]``; called only
            if they are needed.
    """

    def __init__(
        self,
        config: StreamConfig,
        model: Callable[[PyTree], LanguageModel],
        training_tokens: Callable[[], np.ndarray],
    ):
        self._config, self._model = config, model
        self._training_tokens = training_tokens

    def __call__(self, params: PyTree, tokens: np.ndarray) -> float:
        how = self._static
        if self._config.cache_size:
            how = self._with_cache
        elif self._config.dynamic_rate:
            how = self._dynamic
        carry = self._model(params).init_carry((1,))
        return how(params, carry, tokens) / (len(tokens) - 1)

    def losses(self, params: PyTree, tokens: np.ndarray) -> np.ndarray:
        """Nats of every token but the first, ``[N - 1]``.

        Raises:
            DataError: there are fewer than two tokens, or the config asks for a cache
                or for dynamic evaluation.
        """
        for name in ("cache_size", "dynamic_rate"):
            if value := getattr(self._config, name):
                raise DataError(
                    f"evaluation.{name}={value} gives no losses of single tokens; "
                    f"set it to 0."
                )
        carry = self._model(params).init_carry((1,))
        sizes = self._sizes(params, tokens)
        return stream_losses(self._nats, params, carry, tokens, **sizes)

    def _static(self, params, carry, tokens):
        return stream_nats(
            self._nats, params, carry, tokens, **self._sizes(params, tokens)
        )

    def _sizes(self, params, tokens):
        """How a stream is read. The loss does not depend on it.

        A short row would not forget where it started, and one row after the other would
        have to be read for that.
        """
        positions = max(LOGITS // self._model(params).vocabulary_size, 1)
        long_rows = max(len(tokens) // SHORTEST_ROW, 1)
        rows = min(self._config.batch_size, positions, long_rows)
        window = min(max(positions // rows, 1), 1024)
        return dict(rows=rows, context=self._config.context, window=window)

    # One function each for as long as this lives: they are compiled by identity.

    @functools.cached_property
    def _nats(self):
        def nats(params, carry, inputs, targets):
            model = self._model(params)
            carry, hs = model.hidden(inputs, carry)
            return carry, model.nats(hs, targets)

        return nats

    @functools.cached_property
    def _loss(self):
        def loss(params, carry, inputs, targets):
            return self._model(params).loss(inputs, targets, carry)

        return loss

    def _dynamic(self, params, carry, tokens):
        """Krause, Kahembwe, Murray & Renals 2018."""
        config = self._config
        seen, segment = self._training_tokens(), config.dynamic_segment
        # Of batches as wide as in training: the mean of many rows has other squares
        # than one of them.
        rows = self._model(params).init_carry((seen.shape[1],))
        squares = gradient_squares(self._loss, params, rows, seen, segment=segment)
        if not any(jnp.any(leaf) for leaf in jax.tree.leaves(squares)):
            raise DataError(
                "the train split has nothing more to teach this model, which dynamic "
                "evaluation goes by; leave evaluation.dynamic_rate out."
            )
        return dynamic_nats(
            self._loss,
            params,
            carry,
            tokens.astype(np.int32, copy=False),
            segment=segment,
            rate=config.dynamic_rate,
            decay=config.dynamic_decay,
            squares=squares,
        )

    def _with_cache(self, params, carry, tokens):
        """Grave, Joulin & Usunier 2017."""
        state: Any = None
        total = 0.0
        size = min(self._config.cache_size, len(tokens) - 1)
        window = min(
            CACHE_WINDOW, max(LOGITS // self._model(params).vocabulary_size, 1)
        )
        for t in range(0, len(tokens) - 1, window):
            piece = tokens[t : t + window + 1].astype(np.int32, copy=False)
            carry, state, nats = self._cached_window(size, params, carry, state, piece)
            total += float(nats)
        return total

    @functools.cached_property
    def _cached_window(self):
        config = self._config

        def window(size, params, carry, cache, tokens):
            model = self._model(params)
            inputs, targets = tokens[:-1], tokens[1:]
            carry, hs = model.hidden(inputs[:, None], carry)
            hs = hs[:, 0]
            if cache is None:
                cache = Cache.empty(size, hs.shape[1], hs.dtype)
            cache, nats = cache_nats(
                cache,
                hs,
                targets,
                model.nats(hs, targets),
                theta=config.cache_theta,
                share=config.cache_share,
            )
            return carry, cache, nats.sum()

        return jax.jit(window, static_argnums=0)
