"""Perplexity: the exponential of the mean loss of a token in nats."""

from typing import Any

import numpy as np

from lstm_jax.training.metrics import Metric


def perplexity(nats: Any) -> Any:
    """``exp(nats)``, of one or many; held where no double could hold it."""
    return np.exp(np.minimum(nats, 700.0))


PERPLEXITY = Metric("perplexity", of="loss", convert=perplexity, scale="log")
