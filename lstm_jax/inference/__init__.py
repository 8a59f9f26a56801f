"""What a trained model is used for; any model, as a pure function.

stepwise.py      a model that reads one token at a time
sampling.py      the next token: temperature, top-k, top-p
generate.py      sequences drawn by chance, as they are made
beam_search.py   the likeliest sequences
"""

from lstm_jax.inference.beam_search import Beams, beam_search
from lstm_jax.inference.generate import generate, generate_all
from lstm_jax.inference.sampling import Sampling, draw, filter_logits
from lstm_jax.inference.stepwise import spread

__all__ = [
    "Beams",
    "Sampling",
    "beam_search",
    "draw",
    "filter_logits",
    "generate",
    "generate_all",
    "spread",
]
