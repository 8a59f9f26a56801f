"""Uses a trained model: generation, beam search, and the loss on a long stream.

A model is a pure function. Its state is any pytree whose arrays start with the rows.

    stepwise.py      a model that reads one token at a time
    sampling.py      the next token: temperature, top-k, top-p
    generate.py      sampled sequences, as they are generated
    sample_batch.py  sampled sequences that end, one or more for each sentence
    beam_search.py   the most likely sequences
    beam_steps.py    the loop of beam search
    rules.py         what sequences may say: lengths, prefixes, repeated tokens
    coverage.py      its coverage penalty
    ctc_greedy.py    the labels of a CTC model, from its best path
    ctc_search.py    the most likely labels of a CTC model
    stopping.py      text up to the first of some stop strings
    stream_loss.py   the exact loss of one long stream, in parallel rows
    dynamic.py       dynamic evaluation: parameters keep learning from the stream
    cache.py         predictions mixed with a continuous cache
"""

from lstm_jax.inference.beam_search import Beams, beam_search, beam_search_batch
from lstm_jax.inference.cache import Cache, cache_nats
from lstm_jax.inference.coverage import coverage_penalty
from lstm_jax.inference.ctc_greedy import Emitted, ctc_greedy
from lstm_jax.inference.ctc_search import (
    CTCBeams,
    CTCState,
    ctc_advance,
    ctc_beam_search,
    ctc_begin,
    ctc_best,
)
from lstm_jax.inference.dynamic import dynamic_nats, gradient_squares
from lstm_jax.inference.generate import generate, generate_all
from lstm_jax.inference.sample_batch import Samples, sample_batch
from lstm_jax.inference.sampling import Sampling, draw, filter_logits
from lstm_jax.inference.stepwise import spread
from lstm_jax.inference.stopping import up_to_stop
from lstm_jax.inference.stream_loss import stream_losses, stream_nats

__all__ = [
    "Beams",
    "CTCBeams",
    "CTCState",
    "Cache",
    "Emitted",
    "Samples",
    "Sampling",
    "beam_search",
    "beam_search_batch",
    "cache_nats",
    "coverage_penalty",
    "ctc_advance",
    "ctc_beam_search",
    "ctc_begin",
    "ctc_best",
    "ctc_greedy",
    "draw",
    "dynamic_nats",
    "filter_logits",
    "generate",
    "generate_all",
    "gradient_squares",
    "sample_batch",
    "spread",
    "stream_losses",
    "stream_nats",
    "up_to_stop",
]
