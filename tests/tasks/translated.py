"""A language of six words, and how to train a translator of it in seconds."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np

import lstm_jax
from lstm_jax.cli import main
from lstm_jax.config import read
from lstm_jax.runs.configs import make_task, read_config
from lstm_jax.runs.loaded import LoadedRun

WORDS = dict(
    eins="one", zwei="two", drei="three", vier="four", acht="eight", neun="nine"
)

CONFIG = """
task = "translation"
[data]
source = "{folder}/train.de"
target = "{folder}/train.en"
valid_source = "{folder}/valid.de"
valid_target = "{folder}/valid.en"
tokens = "words"
[model]
embed_size = 16
hidden_size = 32
output_dropout = 0.1
[optimizer]
learning_rate = 0.02
[train]
steps = 120
batch_size = 32
buckets = 1
block = 20
evaluate_every = 40
checkpoint_every = 40
monitor = "valid_bleu"
[evaluation]
beams = 3
"""


def reversed_words(sentence: str) -> str:
    """The translation: every word in the other language, the last one first."""
    return " ".join(WORDS[word] for word in reversed(sentence.split()))


def sentences(count: int, longest: int = 5, seed: int = 0) -> list[str]:
    """Sentences of 1 to ``longest`` words."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, longest + 1, count)
    return [" ".join(rng.choice([*WORDS], length)) for length in lengths]


def write(folder: Path) -> list[str]:
    """Writes pairs and a config; returns the arguments of ``train``."""
    for name, count, seed in (("train", 400, 0), ("valid", 24, 1)):
        sources = sentences(count, seed=seed)
        for side, lines in (("de", sources), ("en", map(reversed_words, sources))):
            text = "".join(f"{line}\n" for line in lines)
            (folder / f"{name}.{side}").write_text(text)
    (folder / "pairs.toml").write_text(CONFIG.format(folder=folder))
    return [str(folder / "pairs.toml")]


def write_both(path: Path, sources: list[str], targets: list[str]) -> None:
    """Writes both sides into one file, of TSV or of JSONL by its name."""
    if path.suffix == ".jsonl":
        keys = ("source", "target")
        both = zip(sources, targets, strict=True)
        lines = [json.dumps(dict(zip(keys, pair, strict=True))) for pair in both]
    else:
        lines = ["\t".join(pair) for pair in zip(sources, targets, strict=True)]
    path.write_text("".join(f"{line}\n" for line in lines))


@dataclasses.dataclass(frozen=True)
class Trained:
    """Two runs of one config; the second has another seed and is trained for less."""

    folder: Path

    @property
    def config(self) -> str:
        return str(self.folder / "pairs.toml")

    @property
    def run(self) -> Path:
        return self.folder / "run"

    @property
    def other(self) -> Path:
        return self.folder / "other"

    @functools.cached_property
    def loaded(self) -> LoadedRun:
        return lstm_jax.load_run(self.run)

    @functools.cached_property
    def params(self) -> list:
        """The parameters of both runs."""
        return [self.loaded.params, lstm_jax.load_run(self.other).params]

    def task(self, *overrides: str, metadata=None):
        """The task of the config, of data that are read again."""
        return make_task(read_config(read(self.config), overrides), metadata)


SHORT = ["seed=1", "train.steps=50", "train.monitor=valid_loss"]
SHORT += ["evaluation.bleu=false"]


def train(folder: Path) -> Trained:
    """Trains both runs."""
    args = write(folder)
    assert main(["train", *args, f"run.directory={folder / 'run'}"]) == 0
    assert main(["train", *args, *SHORT, f"run.directory={folder / 'other'}"]) == 0
    return Trained(folder)
