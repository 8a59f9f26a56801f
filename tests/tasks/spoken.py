"""A language of three words, each a tone, and how to train a recogniser of it."""

import dataclasses
import functools
import json
from pathlib import Path

import numpy as np

import lstm_jax
from lstm_jax.cli import main
from lstm_jax.runs.loaded import LoadedRun

RATE = 2000
TONES = dict(do=200, re=400, mi=700)
"""Words and their frequencies in Hz."""

CONFIG = """
task = "transcription"
[data]
train = "{folder}/train.jsonl"
valid = "{folder}/valid.jsonl"
test = "{folder}/test.jsonl"
group = "speaker"
tokens = "words"
[features]
rate = 2000
mels = 8
[sounds]
join = 3
gap_high_ms = 100
gain_db = 6
noise_fraction = 0.3
noise_low_db = 10
[model]
hidden_size = 32
num_layers = 1
bidirectional = false
normalise = "running"
stack_frames = 2
output_dropout = 0.1
[optimizer]
learning_rate = 0.02
[optimizer.schedule]
kind = "cosine"
warmup_steps = 20
[train]
steps = 600
batch_size = 8
buckets = 2
monitor = "valid_loss"
block = 20
evaluate_every = 300
checkpoint_every = 300
"""


def tone(words: str, rng: np.random.Generator, gap: float = 0.06) -> np.ndarray:
    """Words as tones of 0.12 to 0.2 s, with silence around them."""
    parts = [np.zeros(round(gap * RATE))]
    for word in words.split():
        t = np.arange(rng.integers(240, 400)) / RATE
        loud = rng.uniform(0.2, 0.8) * np.hanning(len(t))
        parts += [loud * np.sin(2 * np.pi * TONES[word] * t), parts[0]]
    sound = np.concatenate(parts)
    return (sound + 1e-3 * rng.normal(size=len(sound))).astype(np.float32)


def write_split(folder: Path, name: str, texts: list[str], seed: int) -> Path:
    """Recordings and their manifest; speakers a and b by turns."""
    import soundfile  # other tasks are trained without it

    rng, rows = np.random.default_rng(seed), []
    (folder / name).mkdir()
    for n, text in enumerate(texts):
        path = f"{name}/{n}.wav"
        soundfile.write(folder / path, tone(text, rng), RATE)
        rows.append(dict(path=path, text=text, speaker="ab"[n % 2]))
    manifest = folder / f"{name}.jsonl"
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return manifest


def write(folder: Path) -> list[str]:
    """Writes recordings and a config; returns the arguments of ``train``."""
    write_split(folder, "train", [*TONES] * 16, 0)
    write_split(folder, "valid", ["do", "re", "mi", "do mi", "mi mi re", "re do"], 1)
    write_split(folder, "test", ["mi do", "do do", "re", "do re mi"], 2)
    (folder / "speech.toml").write_text(CONFIG.format(folder=folder))
    return [str(folder / "speech.toml")]


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained recogniser and its files."""

    folder: Path
    run: Path

    @functools.cached_property
    def loaded(self) -> LoadedRun:
        """The run, loaded once."""
        return lstm_jax.load_run(self.run)


def train(folder: Path) -> Trained:
    """Trains until it hears every word."""
    run = folder / "run"
    assert main(["train", *write(folder), f"run.directory={run}"]) == 0
    return Trained(folder, run)
