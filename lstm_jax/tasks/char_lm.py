"""Character language modelling on a text of your own, or on Python's own reference."""

import functools
import lzma
import math
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from pydantic import Field, NonNegativeInt, PositiveInt

from lstm_jax.config import config
from lstm_jax.data.streams import training_rows
from lstm_jax.data.text import (
    DataError,
    Vocabulary,
    python_reference,
    read_text,
    sha256,
    split,
)
from lstm_jax.inference import stream_nats
from lstm_jax.models.language_model import LanguageModelConfig
from lstm_jax.tasks.task import RunConfig, Task
from lstm_jax.training.loop import TrainConfig
from lstm_jax.training.optimizer import OptimizerConfig
from lstm_jax.training.progress import Unit
from lstm_jax.training.record import RunError

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
    """Rows that the part is cut into."""
    context: NonNegativeInt = 256
    """Characters that every row but the first reads before it is counted."""


@config
class WindowsConfig(TrainConfig):
    """How long to train, how often to do what, and on how much text at a time."""

    window: PositiveInt = 64
    """Steps of backpropagation through time; the carry goes on beyond them."""


@config
class CharLMConfig:
    """A character language model, from text to checkpoint."""

    task: Literal["char_lm"] = "char_lm"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Where all that is drawn by chance comes from."""
    data: TextConfig = TextConfig()
    model: LanguageModelConfig = LanguageModelConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    train: WindowsConfig = WindowsConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    run: RunConfig = RunConfig()


class CharLM(Task):
    """The text, its vocabulary and a language model.

    Args:
        config: see `CharLMConfig`.
        facts: as in `Task`; the vocabulary is that of ``characters_known``, by default
            every character of the text.
    """

    unit = Unit("bits", 1 / math.log(2), "tokens", "bits per token")

    def __init__(self, config: CharLMConfig, facts: Mapping[str, Any] | None = None):
        self.config = config
        characters = (facts or {}).get("characters_known")
        if characters is None:
            characters = Vocabulary.of(self.text).characters
        self.vocabulary = Vocabulary(characters)
        super().__init__(config, facts)

    def build_model(self, key):
        return self.config.model.build(len(self.vocabulary), nnx.Rngs(key))

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
            "parameters": self.parameters,
            "characters_known": self.vocabulary.characters,
        }

    def summary(self, facts):
        return (
            f"{facts['data']}: {facts['characters']:,} characters, "
            f"{facts['vocabulary']} distinct, sha256 {facts['sha256'][:16]}"
        )

    def check_same_data(self, facts: Mapping[str, Any], directory: Path) -> None:
        """Another text, or another Python's reference, would be split elsewhere."""
        if facts["sha256"] == sha256(self.text):
            return
        text, remedy = "the text", "bring that back"
        if not self.config.data.path:
            text = f"the language reference of Python {platform.python_version()}"
            remedy = f"use Python {facts['python']} again, rename or remove {directory}"
        raise RunError(
            f"{text} is not the one {directory} was trained on; "
            f"{remedy}, or start a new run with run.directory=FOLDER."
        )

    # Training

    @property
    def items_per_step(self):
        return self.config.train.batch_size * self.config.train.window

    @property
    def steps_per_epoch(self):
        return (len(self._rows) - 1) // self.config.train.window

    @functools.cached_property
    def _rows(self):
        train = self.config.train
        tokens = self.vocabulary.encode(self.parts["train"])
        return training_rows(tokens, train.batch_size, train.window)

    def training_data(self) -> jax.Array:
        return jnp.asarray(self._rows)

    def init_carry(self):
        model = nnx.merge(self.graph, self.params)
        return model.init_carry((self.config.train.batch_size,))

    def batch_at(self, data, carry, step, key):
        """The window of ``step``, and its carry: zeros at the start of every epoch."""
        del key
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

    def evaluate(self, params, part: str) -> dict[str, float]:
        """Mean nats per character over a whole part of the text, and bits."""
        rows, tokens = self.config.evaluation, self.vocabulary.encode(self.parts[part])
        total = stream_nats(
            self._nats,
            params,
            nnx.merge(self.graph, params).init_carry((1,)),
            tokens,
            rows=rows.batch_size,
            context=rows.context,
        )
        nats = total / (len(tokens) - 1)
        return {"loss": nats, "bits_per_character": nats / math.log(2)}

    @functools.cached_property
    def _nats(self):
        def nats(params, carry, inputs, targets):
            carry, logits = nnx.merge(self.graph, params)(inputs, carry)
            return carry, _cross_entropy(logits, targets)

        return nats

    def yardsticks(self, part):
        return {"xz_bits": self.xz_bits()} if part == "test" else {}

    def sentence(self, figures):
        said = f"{figures['bits_per_character']:.4f} bits per character"
        if "xz_bits" in figures:
            said += f" (xz -9, having seen the rest: {figures['xz_bits']:.3f})"
        return said

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
