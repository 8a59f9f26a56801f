"""The masks of one call of a stack. They depend on the key, the layer and the step."""

import jax
import jax.numpy as jnp

from lstm_jax.core.dropout import dropout, variational_dropout
from lstm_jax.core.layers.bidirectional import Bidirectional, map_ways
from lstm_jax.core.layers.weight_drop import drop_weights


class StackMasks:
    """All masks of a `Stack`; without a key there are none."""

    def __init__(self, stack, key, start):
        self._stack, self._start, self._on = stack, start, key is not None
        if self._on:
            self._features, self._cells, self._weights = jax.random.split(key, 3)

    def weights(self, n, params):
        rate = self._stack.weight_drop
        if not self._on or rate == 0:
            return params
        return drop_weights(jax.random.fold_in(self._weights, n), params, rate)

    def of_cell(self, n):
        """The key and step from which layer ``n`` draws the masks of its own cell."""
        if not self._on:
            return {}
        return {"key": jax.random.fold_in(self._cells, n), "start": self._start}

    def of_inputs(self, xs):
        return self._drop(0, self._stack.input_dropout, xs)

    def between(self, n, xs):
        """Dropout on what layer ``n`` reads. The first layer reads its inputs
        unchanged.
        """
        if not isinstance(n, int):
            dropped = self._drop(n, self._stack.dropout, xs)
            return jax.tree.map(lambda d, x: jnp.where(n > 0, d, x), dropped, xs)
        return self._drop(n, self._stack.dropout, xs) if n > 0 else xs

    def of_outputs(self, hs):
        return self._drop(len(self._stack.cells), self._stack.output_dropout, hs)

    def _drop(self, n, rate, xs):
        if not self._on or rate == 0:
            return xs
        key = jax.random.fold_in(self._features, n)

        def drop(key, xs):
            if self._stack.locked:
                return variational_dropout(key, xs, rate)
            return dropout(key, xs, rate, self._start)

        if isinstance(xs, Bidirectional):
            return map_ways(drop, Bidirectional(*jax.random.split(key)), xs)
        return drop(key, xs)
