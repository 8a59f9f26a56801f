"""What a trained model is used for: text from it, and its loss on a long stream.

A model is a pure function; the state that it carries is any pytree, rows first.

    stepwise.py      a model that reads one token at a time
    sampling.py      the next token: temperature, top-k, top-p
    generate.py      sequences drawn by chance, as they are made
    beam_search.py   the likeliest sequences
    stopping.py      text up to the first of some stop strings
    stream_loss.py   the loss of one long stream, exactly, in parallel rows
    dynamic.py       the same of parameters that learn from the stream on the way
    cache.py         predictions mixed with those of a continuous cache
"""

from lstm_jax.inference.beam_search import Beams, beam_search
from lstm_jax.inference.cache import Cache, cache_nats
from lstm_jax.inference.dynamic import dynamic_nats, gradient_squares
from lstm_jax.inference.generate import generate, generate_all
from lstm_jax.inference.sampling import Sampling, draw, filter_logits
from lstm_jax.inference.stepwise import spread
from lstm_jax.inference.stopping import up_to_stop
from lstm_jax.inference.stream_loss import stream_losses, stream_nats

__all__ = [
    "Beams",
    "Cache",
    "Sampling",
    "beam_search",
    "cache_nats",
    "draw",
    "dynamic_nats",
    "filter_logits",
    "generate",
    "generate_all",
    "gradient_squares",
    "spread",
    "stream_losses",
    "stream_nats",
    "up_to_stop",
]
