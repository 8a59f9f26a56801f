"""Dropout on recurrent weights, with one mask for all steps of a sequence."""

from collections.abc import Sequence
from typing import Any

import jax

from lstm_jax._types import Array, Key
from lstm_jax.core.arguments import check_one_key, check_rate
from lstm_jax.core.dropout import drop_and_scale, keep_mask
from lstm_jax.core.layers.bidirectional import Bidirectional

RECURRENT = ("w_h", "w_hn", "w_mh")
"""Names of the weights that multiply the hidden state. A cell has one or more of them.
"""


def weight_drop(
    key: Key[Array, ""], layers: Sequence[Any], rate: float
) -> tuple[Any, ...]:
    """Zeroes recurrent weights of a stack with probability ``rate`` and scales the
    others by ``1 / (1 - rate)``.

    Merity, Keskar & Socher, "Regularizing and Optimizing LSTM Language Models", 2018.
    The mask depends on the key, the layer and the direction, and is the same at every
    step. So a step still needs only one product.

    Raises:
        ValueError: ``rate`` is not in ``[0, 1)``, or a layer has no such weights.

    >>> import jax
    >>> from lstm_jax import init_lstm_stack, weight_drop
    >>> layers = init_lstm_stack(jax.random.key(0), 3, 5, num_layers=2)
    >>> dropped = weight_drop(jax.random.key(1), layers, rate=0.5)
    >>> bool((dropped[0].w_h == 0).any()), bool((dropped[0].w_x == 0).any())
    (True, False)
    """
    check_rate("weight_drop rate", rate)
    key = check_one_key(key)
    keys = [jax.random.fold_in(key, layer) for layer in range(len(layers))]
    return tuple(drop_weights(k, p, rate) for k, p in zip(keys, layers, strict=True))


def drop_weights(key: Key[Array, ""], params: Any, rate: float) -> Any:
    """Drops the recurrent weights of one layer, bidirectional or not."""
    if isinstance(params, Bidirectional):
        both = zip(jax.random.split(key), params, strict=True)
        return Bidirectional(*(drop_weights(k, p, rate) for k, p in both))
    dropped = {}
    for n, name in enumerate(n for n in RECURRENT if n in params._fields):
        w = getattr(params, name)
        keep = keep_mask(jax.random.fold_in(key, n), rate, w.shape)
        dropped[name] = drop_and_scale(keep, w, rate)
    if not dropped:
        raise ValueError(
            f"{type(params).__name__} has no recurrent weight to drop, "
            f"expected one of {', '.join(RECURRENT)}; set weight_drop=0."
        )
    return params._replace(**dropped)
