"""Dropout on recurrent weights, one mask for all the steps of a sequence."""

from collections.abc import Sequence
from typing import Any

import jax

from lstm_jax._types import Array, Key
from lstm_jax.core.bidirectional import Bidirectional
from lstm_jax.core.checks import check_rate
from lstm_jax.core.dropout import drop_and_scale


def weight_drop(
    key: Key[Array, ""], layers: Sequence[Any], rate: float
) -> tuple[Any, ...]:
    """The parameters of a stack with a share ``rate`` of every ``w_h`` zeroed and the
    rest scaled by ``1 / (1 - rate)``.

    Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language Models", 2018.
    The mask is a function of (key, layer, direction) and the same at every step, so the
    recurrence stays one product a step.

    Raises:
        ValueError: ``rate`` is not in ``[0, 1)``.

    >>> import jax
    >>> from lstm_jax import init_lstm_stack, weight_drop
    >>> layers = init_lstm_stack(jax.random.key(0), 3, 5, num_layers=2)
    >>> dropped = weight_drop(jax.random.key(1), layers, rate=0.5)
    >>> bool((dropped[0].w_h == 0).any()), bool((dropped[0].w_x == 0).any())
    (True, False)
    """
    check_rate("weight_drop rate", rate)

    def drop(key, params):
        keep = jax.random.bernoulli(key, 1.0 - rate, params.w_h.shape)
        return params._replace(w_h=drop_and_scale(keep, params.w_h, rate))

    dropped = []
    for layer, params in enumerate(layers):
        layer_key = jax.random.fold_in(key, layer)
        if isinstance(params, Bidirectional):
            keys = jax.random.split(layer_key)
            dropped.append(Bidirectional(*map(drop, keys, params)))
        else:
            dropped.append(drop(layer_key, params))
    return tuple(dropped)
