"""What a trained model is used for.

A model is a pure function, its parameters the first argument; the state it carries is
any pytree with the rows as first axis.

    stream_nats         the loss of one long stream, exactly, in parallel rows
    dynamic_nats        the same for parameters that learn from the stream on the way,
                        with `gradient_squares` of the training data
    cache_nats          predictions mixed with those of a continuous `Cache`
"""

from lstm_jax.inference.beam_search import Beams, beam_search
from lstm_jax.inference.cache import Cache, cache_nats
from lstm_jax.inference.dynamic import dynamic_nats, gradient_squares
from lstm_jax.inference.generate import generate, generate_all
from lstm_jax.inference.sampling import Sampling, draw, filter_logits
from lstm_jax.inference.stepwise import Step, spread
from lstm_jax.inference.stream import stream_nats

__all__ = [
    "Beams",
    "Cache",
    "Sampling",
    "Step",
    "beam_search",
    "cache_nats",
    "draw",
    "dynamic_nats",
    "filter_logits",
    "generate",
    "generate_all",
    "gradient_squares",
    "spread",
    "stream_nats",
]
