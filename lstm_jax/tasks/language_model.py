"""Language modelling: a text of your own, or Python's own reference, in characters,
bytes, words or pieces of words."""

import functools
import itertools
import math
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from pydantic import Field, NonNegativeInt, PositiveInt

from lstm_jax.config import Count, PathText, config
from lstm_jax.core.arguments import seed_key
from lstm_jax.data.compression import DICTIONARY, xz_bits
from lstm_jax.data.corpus import SHARES, find_parts
from lstm_jax.data.store import Tokens
from lstm_jax.data.stored import Text, check_encoding
from lstm_jax.data.text import DataError, counted
from lstm_jax.data.token_rows import training_rows, unread
from lstm_jax.data.tokenized import TokenizedText
from lstm_jax.data.tokens import Tokenizer, encode_stored, restore
from lstm_jax.models.functional import Functional
from lstm_jax.models.language_model import LanguageModelConfig
from lstm_jax.programs.program import Program
from lstm_jax.tasks.abilities import Example, Scored
from lstm_jax.tasks.perplexity import PERPLEXITY, perplexity
from lstm_jax.tasks.stream_evaluation import StreamConfig, StreamEvaluation
from lstm_jax.tasks.text_generation import TextGeneration
from lstm_jax.terminal import say
from lstm_jax.training.batches import (
    DeviceBatches,
    HostBatches,
    restarted,
)
from lstm_jax.training.metadata import Metadata
from lstm_jax.training.metrics import Aux, Metric, number
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.parallel import ParallelConfig
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import RunConfig
from lstm_jax.training.trainer import TrainConfig


@config
class TextConfig:
    """The text, its splits and its tokens."""

    path: PathText = ""
    """A text file, plain, .gz or .zst, or a Parquet or array_record file with a text in
    every row; a folder with a file or a folder for each of train, valid and test; or a
    folder of other files, which become one text in the order of their names. If it is
    not set: the language reference of this Python."""
    encoding: str = "utf-8"
    """The encoding of text files, by its name in Python, such as latin-1."""
    column: str = "text"
    """The column of text of Parquet files."""
    cache: PathText = ""
    """A folder in which tokens are kept: the next start with the same files does not
    read and encode them again. If it is not set: tokens of a text above 64 MiB are in a
    temporary file in the folder of TMPDIR."""
    valid_share: Annotated[float, Field(gt=0, lt=1)] = 0.05
    """Fraction of a single file for the valid split. The rest is the train split."""
    test_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Fraction of a single file, at its end, for the test split; 0: no test split."""
    tokens: Literal["characters", "bytes", "words", "bpe"] = "characters"
    """The kind of tokens; words are separated by white space."""
    vocabulary_limit: NonNegativeInt = 0
    """Maximum number of tokens; 0: no limit (4096 for `bpe`). Other words are
    `<unk>`."""
    min_count: PositiveInt = 1
    """How often a word, or a pair of `bpe`, must occur in the train split."""

    def __post_init__(self):
        check_encoding(self.encoding)
        if self.min_count > 1 and self.tokens in ("characters", "bytes"):
            raise ValueError(
                f"min_count={self.min_count} makes no difference to {self.tokens}; "
                f"leave it out, or set data.tokens=words"
            )
        if self.valid_share + self.test_share >= 1:
            raise ValueError(
                "valid_share and test_share leave nothing to train on, expected a sum "
                "below 1"
            )


@config
class WindowsConfig(TrainConfig):
    """How long to train, how often to do what, and on how much text at a time."""

    window: Count = 64
    """Steps of backpropagation through time. The carry passes to the next window."""
    device_bytes: NonNegativeInt = 256 * 2**20
    """Training tokens that take more bytes than this stay on the host, in their file if
    the text is large, and go to the device one window at a time. A token takes 1 byte
    for a vocabulary of up to 256 tokens, 2 for up to 65,536. The results are the
    same."""


@config
class LanguageModellingConfig:
    """A language model, from text to checkpoint."""

    task: Literal["language_model"] = "language_model"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers."""
    data: TextConfig = TextConfig()
    model: LanguageModelConfig = LanguageModelConfig()
    optimizer: OptimizerConfig = Adam()
    train: WindowsConfig = WindowsConfig()
    evaluation: StreamConfig = StreamConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()


EXAMPLE = 1000
"""Tokens of the text that a model is shown to be examined."""

SMALL = 4 * 2**20
"""Characters that xz compresses in seconds."""


FORGET = 64
"""Batches after which the pages of a file of tokens are given back. They stay in the
cache of the system; without this, an epoch would bring the whole file into memory."""

LONG = 30
"""The user is told if reading and encoding a text takes more seconds."""

UNREAD = 0.01
"""The user is told if a larger fraction of the training tokens is never read."""


def bits(nats):
    """Nats in bits."""
    return nats / math.log(2)


BITS = Metric("bits", label="bits per token", of="loss", convert=bits)
NATS = Metric("nats per token")
PER_CHARACTER = Metric("bits", label="bits per character")


class TextMetadata(Metadata):
    """The types of what `LanguageModelling.describe` says."""

    data: str
    parts: dict[str, int]
    sha256: str
    vocabulary: int
    tokenizer: dict[str, Any] | None = None


class TextWindows:
    """A `lstm_jax.training.batches.BatchSource`: the windows of a text, in order.

    Args:
        rows: from `lstm_jax.data.token_rows.training_rows`.
        window: steps of a window.
        tokens: the tokens that the rows are a view of.
    """

    def __init__(self, rows: np.ndarray, window: int, tokens: Tokens):
        self._rows, self._window, self._tokens = rows, window, tokens
        self._loads = itertools.count(1)

    def plan(self, epoch: int) -> range:
        del epoch
        return range((len(self._rows) - 1) // self._window)

    axes = 1

    def rows(self, batch: int) -> int:
        del batch
        return self._rows.shape[1]

    def part(self, batch: int, first: int, last: int) -> tuple[int, slice]:
        return batch, slice(first, last)

    def load(self, batch: int | tuple[int, slice]) -> np.ndarray:
        self._tokens.check()
        if not next(self._loads) % FORGET:
            self._tokens.forget()
        window, rows = batch if isinstance(batch, tuple) else (batch, slice(None))
        at = window * self._window
        return self._rows[at : at + self._window + 1, rows].copy()


class LanguageModelling:
    """The text, its tokens and a language model: a `lstm_jax.training.task.Task`.

    Args:
        config: see `LanguageModellingConfig`.
        metadata: the metadata of a run that exists. Its ``tokenizer`` is used; without
            one, the tokenizer is learned from the text.
    """

    items = "tokens"
    moved = frozenset({"data.path", "data.encoding", "data.column", "data.cache"})
    metadata_type = TextMetadata

    def __init__(
        self, config: LanguageModellingConfig, metadata: Mapping[str, Any] | None = None
    ):
        self.config, self._metadata = config, metadata or {}
        known = self._metadata.get("tokenizer")
        self.tokenizer = restore(known) if known else self._learn()
        self.by_character = config.data.tokens in ("characters", "bytes")
        first = {"bits": BITS} if self.by_character else {"perplexity": PERPLEXITY}
        self.metrics = first | {"loss": NATS}
        if self.tokenizer.lossless:
            self.metrics |= {"bits_per_character": PER_CHARACTER}
        vocabulary = len(self.tokenizer)
        self.model = Functional(
            lambda key: config.model.build(vocabulary, nnx.Rngs(key))
        )

    def _learn(self) -> Tokenizer:
        data = self.config.data
        return self._text.learn(
            data.tokens, limit=data.vocabulary_limit, min_count=data.min_count
        )

    @functools.cached_property
    def _text(self) -> TokenizedText:
        data = self.config.data
        shares = data.valid_share, data.test_share
        asked = shares != SHARES[1:] and os.path.isdir(data.path)
        if asked and isinstance(find_parts(Path(data.path)), dict):
            raise DataError(
                f"data.path={data.path} is a folder, which has a file for each split; "
                f"leave data.valid_share and data.test_share out."
            )
        return TokenizedText(
            data.path,
            (1 - data.valid_share - data.test_share, *shares),
            data.encoding,
            data.column,
            cache=data.cache,
            tell=lambda said: say(said, error=True),
        )

    @property
    def parts(self) -> dict[str, Text]:
        """The text, by the names of its splits."""
        return self._text.parts

    def tokens(self, part: str) -> np.ndarray:
        """The tokens of a split, in the smallest integers that hold them.

        Raises:
            DataError: there is no such split.
        """
        return self._tokens(part).data

    def _tokens(self, part) -> Tokens:
        return self._text.tokens(part, self.tokenizer)

    def describe(self) -> dict[str, Any]:
        """Metadata of data and model."""
        return {
            "data": self.config.data.path or "Python language reference",
            "parts": self._text.characters,
            "tokens": {part: self._count(part) for part in self._text.characters},
            "sha256": self._text.sha256,
            "vocabulary": len(self.tokenizer),
            "parameters": self.model.size,
            "tokenizer": self.tokenizer.facts(),
        }

    def _count(self, part):
        """Tokens of a part, of which one at least has to be predicted."""
        count = len(self.tokens(part))
        if count < 2:
            raise DataError(
                f"the {part} split has {counted(count, 'token')} of "
                f"{self.config.data.tokens}, expected 2 or more; use more text for it."
            )
        return count

    def summary(self, metadata):
        said = (
            f"{metadata['data']}: {sum(metadata['parts'].values()):,} characters, "
            f"{metadata['vocabulary']:,} distinct {self.config.data.tokens}, "
            f"sha256 {metadata['sha256'][:16]}"
        )
        train, count = self.config.train, len(self.tokens("train"))
        rest = unread(count, train.batch_size, train.window)
        if rest > UNREAD * count:
            said += (
                f"\nthe last {rest:,} of {count:,} training tokens are never read: "
                f"a step takes {self.items_per_step:,}; lower train.batch_size or "
                f"train.window."
            )
        if self._text.seconds > LONG and not self.config.data.cache:
            said += (
                f"\nreading and encoding the text took {self._text.seconds:.0f} s, and "
                f"takes as long at every start; set data.cache=FOLDER to keep its "
                f"tokens."
            )
        return said

    def check_same_data(self, metadata: Mapping[str, Any], directory: Path) -> None:
        """Another text, or another Python's reference, would be split elsewhere."""
        if metadata["sha256"] == self._text.sha256:
            return
        text, remedy = "the text", "bring that back"
        if not self.config.data.path:
            text = f"the language reference of Python {platform.python_version()}"
            remedy = (
                f"use Python {metadata['python']} again, rename or remove {directory}"
            )
        raise RunError(
            f"{text} is not the one {directory} was trained on; "
            f"{remedy}, or start a new run with run.directory=FOLDER."
        )

    # Training

    @property
    def items_per_step(self):
        return self.config.train.batch_size * self.config.train.window

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """The training split in rows ``[N, B]``, as training reads them."""
        train = self.config.train
        return training_rows(self.tokens("train"), train.batch_size, train.window)

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        build = lambda: self.model(self.model.init(seed_key(0)))
        carry = lambda: build().init_carry((self.config.train.batch_size,))
        return jax.tree.map(jnp.zeros_like, jax.eval_shape(carry))

    def batches(self) -> DeviceBatches | HostBatches:
        rows, window = self.rows, self.config.train.window
        if self.tokens("train").nbytes > self.config.train.device_bytes:
            source = TextWindows(rows, window, self._tokens("train"))
            return HostBatches(source, self.config.train.block, restarts=True)
        steps = (len(rows) - 1) // window
        axes = dict(axes=1, data_axes=1)
        return DeviceBatches(jnp.asarray(rows), self._window_at, steps, **axes)

    def _window_at(self, data, carry, step, key):
        """The window of ``step``, and its carry: zeros at the start of every epoch."""
        del key
        window = self.config.train.window
        at = step % ((data.shape[0] - 1) // window)
        batch = jax.lax.dynamic_slice_in_dim(data, at * window, window + 1)
        return batch, restarted(carry, at == 0)

    def loss(self, params, carry, batch, key):
        """Mean cross-entropy of the next token, in nats, and the penalties."""
        batch = batch.astype(jnp.int32)
        inputs, targets = batch[:-1], batch[1:]
        carry, loss = self.model(params).loss(
            inputs, targets, carry, key=key, deterministic=False
        )
        return loss, Aux(carry)

    # Evaluation

    @property
    def _parts_known(self):
        known = self._metadata.get("parts")
        return self._text.characters if known is None else known

    @property
    def final_split(self) -> str:
        return "test" if "test" in self._parts_known else "valid"

    def evaluate(self, params, split: str) -> dict[str, float]:
        """Mean nats of a token over a whole split, its perplexity, and the bits of a
        character where tokens hold all of the text."""
        tokens = self._tokens(split)
        tokens.check()
        nats = self._evaluation(params, tokens.data)
        tokens.forget()
        return self._metrics_of(nats, tokens.data, self._text.characters[split])

    def _metrics_of(self, nats, tokens, characters):
        """The metrics of a text, from the mean nats of its tokens but the first."""
        metrics = {"loss": nats}
        if not self.by_character:
            metrics["perplexity"] = float(perplexity(nats))
        if self.tokenizer.lossless:
            first = len(self.tokenizer.decode(tokens[:1]))
            total = bits(nats * (len(tokens) - 1))
            metrics["bits_per_character"] = total / max(characters - first, 1)
        return metrics

    @functools.cached_property
    def _evaluation(self):
        config = self.config.evaluation

        def training_tokens():
            """In rows, as training reads them."""
            tokens = self.tokens("train")[: config.dynamic_tokens].astype(np.int32)
            rows = self.config.train.batch_size
            needed = rows * config.dynamic_segment + 1
            if len(tokens) < needed:
                raise DataError(
                    f"evaluation.dynamic_tokens={config.dynamic_tokens} takes "
                    f"{len(tokens)} tokens of the train split, expected {needed} or "
                    f"more for a segment of {config.dynamic_segment} in each of "
                    f"{rows} rows; set it higher or evaluation.dynamic_segment lower."
                )
            return training_rows(tokens, rows, config.dynamic_segment)

        return StreamEvaluation(config, self.model, training_tokens)

    def baselines(self, split, every=False):
        if split != "test" or not self.tokenizer.lossless:
            return
        size = sum(self._text.characters.values())
        if size > SMALL:
            if not every:
                yield (
                    (
                        f"xz -9 would take long on {size:,} characters; to compare, "
                        f"run lstm-jax evaluate RUN --baselines."
                    ),
                    {},
                )
                return
            yield f"comparing with xz -9 on {size:,} characters; Ctrl-C skips it.", {}
        *rest, test = self.parts.values()
        # xz does not look back further, and a long text is not held twice.
        seen = "".join(text.last(DICTIONARY + 4) for text in rest)
        found = xz_bits(seen, str(test))
        yield (
            f"xz -9, having seen the rest: {found:.3f} bits per character",
            {"xz_bits": found},
        )

    def sentence(self, metrics):
        said = []
        if "perplexity" in metrics:
            said.append(f"perplexity {number(metrics['perplexity'], 2)}")
        if "bits_per_character" in metrics:
            said.append(f"{number(metrics['bits_per_character'])} bits per character")
        return ", ".join([*said, NATS.say(metrics["loss"])])

    # Abilities

    @functools.cached_property
    def generator(self) -> TextGeneration:
        """Generates text with the model."""
        return TextGeneration(self.tokenizer, self.model)

    def example(self) -> Example:
        """The beginning of the valid split."""
        tokens = self.tokens("valid")[:EXAMPLE]
        column = jnp.asarray(tokens.astype(np.int32))[:, None]
        return Example(
            f"the first {len(tokens):,} tokens of the valid split",
            lambda model: model.hidden(column, deterministic=True),
            [self.tokenizer.decode([token]) for token in tokens.tolist()],
            is_text=True,
            between=" " * (self.config.data.tokens == "words"),
        )

    def score(self, params, text: Text) -> Scored:
        """The losses of all tokens of a text, read from its beginning.

        Raises:
            DataError: the text has fewer than two tokens, or something that the
                vocabulary does not have, or the config asks for a cache or for dynamic
                evaluation.
        """
        tokens = encode_stored(self.tokenizer, text)
        losses = self._evaluation.losses(params, tokens)
        mean = float(np.mean(losses, dtype=np.float64))
        metrics = self._metrics_of(mean, tokens, text.characters)
        spelled = functools.cache(lambda token: self.tokenizer.decode([token]))
        return Scored(tokens, losses, metrics, spelled)

    def program(
        self,
        params,
        *,
        batch_first: bool = False,
        lengths: bool = True,
        carry: bool = True,
    ) -> Program:
        """The trained model for other programs; the arguments are those of
        `lstm_jax.interop.Program`."""
        return self.model(params).program(
            batch_first=batch_first, lengths=lengths, carry=carry
        )
