"""Translation: sentences of one language into another."""

import dataclasses
import functools
import importlib.util
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx

from lstm_jax._types import PyTree
from lstm_jax.data.parallel.portable import portable
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import Words
from lstm_jax.data.tokens.words import UNKNOWN
from lstm_jax.models.functional import Functional
from lstm_jax.models.translation import TranslatorConfig
from lstm_jax.scores.translation import translation_scores
from lstm_jax.tasks.abilities import Example, Folder
from lstm_jax.tasks.perplexity import PERPLEXITY, perplexity
from lstm_jax.tasks.translating import (
    BeamOptions,
    SampleOptions,
    Translating,
    Translation,
)
from lstm_jax.tasks.translation_batches import TranslationBatches
from lstm_jax.tasks.translation_config import TranslationConfig
from lstm_jax.tasks.translation_data import TranslationData, TranslationMetadata
from lstm_jax.tasks.translation_export import DecoderFunction, EncoderFunction
from lstm_jax.tasks.translation_reading import Alignment, PairReader, with_copies
from lstm_jax.training.batches import HostBatches
from lstm_jax.training.metrics import Aux, Mean, Metric, Metrics, number, over_batches

LOSS: Metrics = {"loss": Metric("nats per token"), "perplexity": PERPLEXITY}
BLEU: Metrics = {
    "bleu": Metric(better="higher", label="BLEU"),
    "chrf": Metric(better="higher", label="chrF"),
}


class TranslationTask:
    """Pairs of sentences and a translator: a `lstm_jax.training.task.Task`.

    Args:
        config: see `TranslationConfig`.
        metadata: the metadata of a run that exists. Its vocabularies are used.
    """

    items = "tokens"
    moved = frozenset(
        f"data.{split}{side}"
        for split in ("", "valid_", "test_")
        for side in ("source", "target")
    ) | {"data.path", "data.valid", "data.test"}
    metadata_type = TranslationMetadata

    def __init__(
        self, config: TranslationConfig, metadata: Mapping[str, Any] | None = None
    ):
        self.config = config
        self.data = data = TranslationData(config.data, metadata)
        self.model = self._functional(config.model)
        pieces = self.model, data.source, data.target
        self._translating, self._reader = Translating(*pieces), PairReader(*pieces)

    def _functional(self, model: TranslatorConfig) -> Functional:
        sizes = self.data.source.size, self.data.target.size
        return Functional(lambda key: model.build(*sizes, nnx.Rngs(key)))

    @property
    def metrics(self) -> Metrics:
        return {**LOSS, **BLEU} if self.config.evaluation.bleu else LOSS

    @property
    def tokenizer(self):
        """Source text to tokens and back."""
        return self.data.source.tokenizer

    # Training

    def init(self, key):
        return self.model.init(key)

    def init_carry(self):
        return ()

    @functools.cached_property
    def _train(self) -> TranslationBatches:
        config = self.config.train
        return TranslationBatches(
            self.data.encoded("train"),
            config.batch_tokens,
            config.buckets,
            self.config.seed,
            most=config.batch_size,
        )

    def batches(self) -> HostBatches:
        if self.config.evaluation.bleu:
            _check_sacrebleu()
        return HostBatches(self._train, self.config.train.block)

    @property
    def items_per_step(self) -> int:
        """Target tokens of a step, in the mean."""
        tokens = int(self.data.encoded("train").lengths[:, 1].sum())
        return max(tokens // len(self._train.plan(0)), 1)

    def loss(self, params, carry, batch, key):
        """The mean cross-entropy of the target tokens in nats, smoothed."""
        nats, count = self.model(params).loss(batch, key=key)
        return nats, Aux(carry, {}, count)

    # Evaluation

    @property
    def final_split(self) -> str:
        return self.data.final_split

    def evaluate(self, params, split):
        """Loss and perplexity; and BLEU and chrF of the translations of a split."""
        if self.config.evaluation.bleu:
            _check_sacrebleu()
        pairs = self.data.split(split)
        batches = self._batches(split)
        found = over_batches(functools.partial(self._measure, params), batches)
        found["perplexity"] = float(perplexity(found["loss"]))
        if self.config.evaluation.bleu:
            said = self.translate([params], pairs.sources)
            scores = self._scores([best.text for best, *_ in said], pairs.targets)
            found |= {"bleu": scores.bleu, "chrf": scores.chrf}
        return found

    def _batches(self, split):
        evaluation = self.config.evaluation
        encoded = self.data.encoded(split)
        longest = int(encoded.lengths.max())
        tokens = max(evaluation.batch_tokens, longest)
        source = TranslationBatches(encoded, tokens, self.config.train.buckets)
        return (batch for _, batch in source.in_order())

    def _measure(self, params, batch):
        nats, count = self._nats(params, batch)
        return {"loss": Mean(float(nats) * float(count), float(count))}

    @functools.cached_property
    def _nats(self):
        return jax.jit(lambda params, batch: self.model(params).loss(batch))

    def _scores(self, translations, references):
        config = self.config.evaluation
        return translation_scores(
            translations,
            references,
            tokenize=config.tokenize,
            lowercase=config.lowercase,
        )

    def sentence(self, metrics):
        said = f"perplexity {metrics['perplexity']:.3f}, {number(metrics['loss'])} nats"
        if "bleu" in metrics:
            said = f"BLEU {metrics['bleu']:.2f}, chrF {metrics['chrf']:.2f}, {said}"
        return said

    def baselines(self, split, every=False):
        del every
        if not self.config.evaluation.bleu:
            return
        pairs = self.data.split(split)
        scores = self._scores(pairs.sources, pairs.targets)
        yield (
            f"the source itself: BLEU {scores.bleu:.2f}, chrF {scores.chrf:.2f} "
            f"(sacrebleu {scores.signature})",
            {"source_bleu": scores.bleu, "source_chrf": scores.chrf},
        )

    # Metadata

    def describe(self):
        return self.data.describe() | {"parameters": self.model.size}

    def summary(self, metadata):
        return self.data.summary(metadata)

    def check_same_data(self, metadata, directory):
        self.data.check_same(metadata, directory)

    # Abilities

    def example(self) -> Example:
        """The first sentence of the valid split, which the encoder reads."""
        side = self.data.source
        tokens = side.encode(self.data.split("valid").sources[0])
        row, lengths = jnp.asarray(tokens)[:, None], jnp.array([len(tokens)])
        return Example(
            "the first sentence of the valid split",
            lambda model: model.encode(row, lengths),
            [*map(side.tokenizer.decode, tokens[:-1, None].tolist()), "<end>"],
            is_text=True,
            between=" " * isinstance(side.tokenizer, Words),
        )

    @property
    def beam_options(self) -> BeamOptions:
        """How translations are searched for unless the user asks for something else."""
        config = self.config.evaluation
        return BeamOptions(config.beams, config.alpha, config.coverage_penalty)

    def translate(
        self,
        params: Sequence[PyTree],
        sentences: Sequence[str],
        options: BeamOptions | SampleOptions | None = None,
        copy_unknown: bool = False,
        prefixes: Sequence[str] | None = None,
    ) -> list[list[Translation]]:
        """The translations of every sentence, in order; see `Translating`.

        With ``copy_unknown`` a word of the sentence stands for every ``<unk>``, the one
        that the first model attended to.

        Raises:
            DataError: a sentence or a prefix cannot be encoded, or ``copy_unknown`` is
                given and the tokens are not words.
        """
        if copy_unknown and not isinstance(self.data.target.tokenizer, Words):
            raise DataError(
                f"the tokens of this model are {self.data.target.tokenizer.name}, "
                f"which have no {UNKNOWN} to copy a word for."
            )
        found = self._translating.translate(
            params, sentences, options or self.beam_options, prefixes
        )
        if not copy_unknown:
            return found
        flat = [
            (n, k, best)
            for n, translations in enumerate(found)
            for k, best in enumerate(translations)
            if UNKNOWN in best.text.split()
        ]
        sources = [sentences[n] for n, _, _ in flat]
        read = self.align(params[0], sources, [best.text for _, _, best in flat])
        for (n, k, best), alignment in zip(flat, read, strict=True):
            found[n][k] = best._replace(text=with_copies(alignment))
        return found

    def align(
        self, params: PyTree, sources: Sequence[str], targets: Sequence[str]
    ) -> list[Alignment]:
        """What given translations cost, token by token, and where they attended to."""
        return self._reader.read(params, sources, targets)

    def folder(self, params: PyTree, *, batch_first: bool = False) -> Folder:
        """The encoder and a step of the decoder, with the tokenizers."""
        sides = {"source": self.data.source, "target": self.data.target}
        vocabulary = {
            side: {
                "tokenizer": f"{side}.tokenizer.json",
                "size": tokens.size,
                "begin": tokens.begin,
                "end": tokens.end,
            }
            for side, tokens in sides.items()
        }
        files = {f"{side}.tokenizer.json": portable(of) for side, of in sides.items()}
        files["vocabulary.json"] = json.dumps(vocabulary, indent=2) + "\n"
        # Files compute in float32, whatever the model was trained in.
        config = dataclasses.replace(self.config.model, dtype="float32")
        model = self._functional(config)
        functions = {
            "encoder": EncoderFunction(model, params, batch_first),
            "decoder": DecoderFunction(model, params),
        }
        return Folder(functions, files)


def _check_sacrebleu():
    if importlib.util.find_spec("sacrebleu") is None:
        raise DataError(
            "BLEU needs the package sacrebleu: pip install 'lstm-jax[translate]'; or "
            "set evaluation.bleu=false."
        )
