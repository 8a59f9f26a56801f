"""Character language modelling on a text of your own, or on Python's own reference."""

import functools
import lzma
import math
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from pydantic import Field, NonNegativeInt, PositiveInt

from lstm_jax.config import config
from lstm_jax.data.streams import evaluation_rows, training_rows
from lstm_jax.data.text import (
    DataError,
    Vocabulary,
    python_reference,
    read_text,
    sha256,
    split,
)
from lstm_jax.models.language_model import LanguageModelConfig
from lstm_jax.training.loop import TrainConfig
from lstm_jax.training.optimizer import OptimizerConfig

SHARES = {"train": 0.90, "valid": 0.05, "test": 0.05}
XZ_DICTIONARY = 64 * 2**20
"""How many bytes back ``xz -9`` looks."""


@config
class TextConfig:
    """Where the text comes from."""

    path: str = ""
    """A UTF-8 file; empty for the Python language reference of this Python."""


@config
class EvaluationConfig:
    """How a part of the text is evaluated."""

    batch_size: PositiveInt = 8
    context: NonNegativeInt = 256
    """Characters that every row but the first reads before it is counted."""


@config
class RunConfig:
    """Where the run is kept."""

    directory: str = ""
    """Empty for ``runs/`` and the name of the config file."""


@config
class CharLMConfig:
    """A character language model, from text to checkpoint."""

    task: Literal["char_lm"] = "char_lm"
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    data: TextConfig = TextConfig()
    model: LanguageModelConfig = LanguageModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: TrainConfig = TrainConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()


class CharLM:
    """What a run of the task needs: parameters, data on the device, pure functions.

    Args:
        config: see `CharLMConfig`.
        characters: the vocabulary of a model trained before; by default every character
            of the text.
    """

    def __init__(self, config: CharLMConfig, characters: str | None = None):
        self.config = config
        if characters is None:
            characters = Vocabulary.of(self.text).characters
        self.vocabulary = Vocabulary(characters)
        init_key, self.train_key = jax.random.split(jax.random.key(config.seed))
        model = config.model.build(len(self.vocabulary), nnx.Rngs(init_key))
        self.graph, self.params = nnx.split(model, nnx.Param)

    @functools.cached_property
    def text(self) -> str:
        path = self.config.data.path
        return read_text(path) if path else python_reference()

    @functools.cached_property
    def parts(self) -> dict[str, str]:
        parts = split(self.text, tuple(SHARES.values()))
        if min(map(len, parts)) < 2:
            raise DataError(
                f"the text has {len(self.text)} characters, too few to split into "
                f"{', '.join(SHARES)}; set data.path to a longer one."
            )
        return dict(zip(SHARES, parts, strict=True))

    def describe(self) -> dict[str, Any]:
        """Facts about data and model for the record of the run."""
        return {
            "data": self.config.data.path or "Python language reference",
            "characters": len(self.text),
            "sha256": sha256(self.text),
            "vocabulary": len(self.vocabulary),
            "parameters": sum(p.size for p in jax.tree.leaves(self.params)),
        }

    # Training

    def training_data(self) -> jax.Array:
        train = self.config.train
        tokens = self.vocabulary.encode(self.parts["train"])
        return jnp.asarray(training_rows(tokens, train.batch_size, train.window))

    def init_carry(self):
        model = nnx.merge(self.graph, self.params)
        return model.init_carry((self.config.train.batch_size,))

    def batch_at(self, data, carry, step):
        """The window of ``step``, and its carry: zeros at the start of every epoch."""
        window = self.config.train.window
        at = step % ((data.shape[0] - 1) // window)
        batch = jax.lax.dynamic_slice_in_dim(data, at * window, window + 1)
        return batch, jax.tree.map(lambda c: jnp.where(at == 0, 0, c), carry)

    def loss(self, params, carry, batch, key):
        """Mean cross-entropy of the next character, in nats."""
        model = nnx.merge(self.graph, params)
        carry, nats = model.loss(batch[:-1], batch[1:], carry, key=key)
        return nats, carry

    # Evaluation

    def evaluate(self, params, part: str) -> float:
        """Mean nats per character over a whole part of the text."""
        rows = self.config.evaluation
        tokens = self.vocabulary.encode(self.parts[part])
        arrays = evaluation_rows(tokens, rows.batch_size, rows.context)
        *_, counted = arrays
        window, carry, total = 1024, None, 0.0
        for t in range(0, len(counted), window):
            piece = [a[t : t + window] for a in arrays]
            carry, nats = self._evaluate_window(params, carry, *piece)
            total += float(nats)
        return total / int(counted.sum())

    @functools.cached_property
    def _evaluate_window(self):
        def window(params, carry, inputs, targets, counted):
            carry, logits = nnx.merge(self.graph, params)(inputs, carry)
            return carry, (_cross_entropy(logits, targets) * counted).sum()

        return jax.jit(window)

    def report(self, nats: float) -> dict[str, float]:
        """The figures of an evaluation, in the units of the field."""
        return {"loss": nats, "bits_per_character": nats / math.log(2)}

    def xz_bits(self) -> float:
        """Bits per character that ``xz -9`` spends on the test part, having seen the
        rest: the size of both together less that of the rest alone.

        Of the rest it sees the last 64 MiB: it would not look back further.
        """
        size = lambda data: len(lzma.compress(data, preset=9))
        test = self.parts["test"]
        end = len(self.text) - len(test)
        # A character is at least a byte, so as many characters hold the bytes.
        rest = self.text[max(end - XZ_DICTIONARY, 0) : end].encode()[-XZ_DICTIONARY:]
        return 8 * (size(rest + test.encode()) - size(rest)) / len(test)

    # Generation

    def generate(
        self, params, prompt: str, length: int, temperature: float, seed: int
    ) -> str:
        """``length`` characters after ``prompt``; temperature 0 takes the likeliest."""
        if not prompt:
            raise DataError("the prompt is empty, expected at least one character.")
        tokens = jnp.asarray(self.vocabulary.encode(prompt))
        model = nnx.merge(self.graph, params)
        key = jax.random.key(seed)

        def draw(logits, key):
            if temperature == 0:
                return jnp.argmax(logits, axis=-1)
            scaled = logits.astype(jnp.float32) / temperature
            return jax.random.categorical(key, scaled)

        @jax.jit
        def run(tokens):
            carry, logits = model(tokens)

            def step(state, key):
                carry, logits = state
                token = draw(logits, key)
                carry, logits = model(token[None], carry)
                return (carry, logits[0]), token

            keys = jax.random.split(key, length)
            return jax.lax.scan(step, (carry, logits[-1]), keys)[1]

        return self.vocabulary.decode(np.asarray(run(tokens)))


def _cross_entropy(logits, targets):
    return optax.softmax_cross_entropy_with_integer_labels(
        logits.astype(jnp.float32), targets
    )
