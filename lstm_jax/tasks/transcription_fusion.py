"""A language model beside the recogniser: shallow fusion.

    score(y) = log p(y | sound) + weight * log p_LM(y) + bonus * |y|

The language model reads each token of every transcript that the search follows. Its
probabilities are of the tokens that the recogniser has, and sum to 1 over these.
Gulcehre et al., "On Using Monolingual Corpora in Neural Machine Translation", 2015.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, PyTree
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import Tokenizer
from lstm_jax.inference.stepwise import Step
from lstm_jax.tasks.text_generation import TextGeneration


class LabelModel(NamedTuple):
    """A language model of the labels of a recogniser, and its state before the first.

    The arguments ``language_model``, ``carry`` and ``logits`` of `ctc_beam_search`.
    """

    step: Step
    carry: PyTree
    logits: Array
    """``[1, V]``"""


def label_model(
    generator: TextGeneration, params: PyTree, tokenizer: Tokenizer
) -> LabelModel:
    """A language model for a recogniser.

    Args:
        generator: of the language model, ``task.generator``. Transcripts are read as
            what follows its ``beginning``.
        params: the parameters of the language model.
        tokenizer: of the recogniser.

    Raises:
        DataError: a token of the recogniser is none of the language model.
    """
    tokens = _tokens(generator.tokenizer, tokenizer)
    read, carry, logits = generator.after(params, generator.beginning)

    def step(of_model, carry, labels):
        read, tokens = of_model
        carry, logits = read(carry, tokens[labels])
        return carry, logits[:, tokens]

    of_model = read, tokens
    return LabelModel(jax.tree_util.Partial(step, of_model), carry, logits[:, tokens])


def _tokens(of_model: Tokenizer, of_labels: Tokenizer) -> Array:
    """The token of the language model for every label."""
    if of_model == of_labels:
        return jnp.arange(len(of_labels), dtype=jnp.int32)
    found, missing = [], []
    for label in range(len(of_labels)):
        text = of_labels.decode([label])
        token = _token(of_model, text)
        found.append(token)
        if token is None:
            missing.append(repr(text))
    if missing:
        raise DataError(
            f"the language model has no token for {', '.join(missing[:5])} of the "
            f"recogniser ({len(missing)} of {len(found)} tokens); train it with "
            f"data.tokens={of_labels.name}, on text in which they all occur."
        )
    return jnp.asarray(np.array(found, np.int32))


def _token(tokenizer, text) -> int | None:
    """The one token of a text, if there is one."""
    try:
        if tokenizer.unknown(text):
            return None
        tokens = tokenizer.encode(text)
    except DataError:
        return None
    return int(tokens[0]) if len(tokens) == 1 else None
