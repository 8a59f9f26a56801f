"""Text from a language model: drawn token by token, or searched for."""

import contextlib
import itertools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax._types import Array, PyTree
from lstm_jax.core.arguments import seed_key
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import Tokenizer, decode_stream
from lstm_jax.inference import Sampling, beam_search, generate, spread
from lstm_jax.inference.stepwise import Step
from lstm_jax.models.language_model import LanguageModel


class TextGeneration:
    """Continues a prompt.

    Args:
        tokenizer: text to tokens and back.
        model: parameters to model.

    All of its functions raise `DataError` for a prompt that is empty or that the
    tokenizer cannot read.
    """

    def __init__(self, tokenizer: Tokenizer, model: Callable[[PyTree], LanguageModel]):
        self._tokenizer, self._model = tokenizer, model

    @property
    def beginning(self) -> str:
        """What a text goes on from where nothing is said: a new line, if there is one
        in the vocabulary."""
        for text in ("\n", " "):
            with contextlib.suppress(DataError):
                self._encode_prompt(text)
                return text
        return self._tokenizer.decode(np.array([0]))

    def generate(
        self, params, prompt: str, length: int, sampling: Sampling, seed: int = 0
    ) -> Iterator[str]:
        """``prompt``, and ``length`` tokens after it, piece by piece as it is made."""
        first = self._encode_prompt(prompt)
        parts = self._draw(params, first, length, sampling, seed, 1)
        rows = (part[0] for part in parts)
        return decode_stream(self._tokenizer, itertools.chain([first], rows))

    def samples(
        self,
        params,
        prompt: str,
        length: int,
        sampling: Sampling,
        seed: int = 0,
        count: int = 1,
    ) -> list[str]:
        """As many texts that begin with ``prompt``; the first is that of `generate`."""
        first = self._encode_prompt(prompt)
        parts = self._draw(params, first, length, sampling, seed, count)
        return self._decode(first, np.concatenate([*parts], axis=1))

    def beam_search(self, params, prompt: str, length: int, width: int) -> list[str]:
        """The likeliest texts that are found, the best first, ``prompt`` included."""
        first = self._encode_prompt(prompt)
        beams = beam_search(*self._after(params, first), width, length)
        return self._decode(first, beams.tokens[np.isfinite(beams.scores)])

    def _encode_prompt(self, prompt):
        if unknown := self._tokenizer.unknown(prompt):
            raise DataError(
                f"the vocabulary of this model does not have {', '.join(unknown)}; "
                f"leave it out, or write <unk> for it."
            )
        tokens = self._tokenizer.encode(prompt)
        if not len(tokens):
            raise DataError(f"the prompt is {prompt!r}, expected at least one token.")
        return tokens

    def _decode(self, prompt, rows):
        whole = (np.concatenate([prompt, row]) for row in np.asarray(rows))
        return [*map(self._tokenizer.decode, whole)]

    def _draw(self, params, prompt, length, sampling, seed, count):
        step, carry, logits = self._after(params, prompt)
        carry, logits = spread(carry, count), spread(logits, count)
        return generate(step, carry, logits, seed_key(seed), length, sampling)

    def _after(self, params, tokens) -> tuple[Step, PyTree, Array]:
        """The model by steps, and its carry and logits after ``tokens``, in one row."""

        @jax.jit
        def read(params, tokens):
            model = self._model(params)
            carry, hs = model.hidden(tokens[:, None])
            return carry, model.logits(hs[-1])

        def step(params, carry, tokens):
            carry, logits = self._model(params)(tokens[None], carry)
            return carry, logits[0]

        carry, logits = read(params, jnp.asarray(tokens))
        return jax.tree_util.Partial(step, params), carry, logits
