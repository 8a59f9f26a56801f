"""Small labelled files, and configs to train on them in seconds."""

import json
from pathlib import Path

import numpy as np

CLASSES = ("falls", "rises", "stays")

SERIES = """
task = "classification"
[data]
kind = "series"
path = "{path}"
valid_fraction = 0.2
test_fraction = 0.2
[model]
hidden_size = 8
[optimizer]
learning_rate = 0.02
[train]
epochs = 6
batch_size = 8
buckets = 2
block = 4
evaluate_every = 5
checkpoint_every = 4
monitor = "valid_accuracy"
[evaluation]
batch_size = 7
"""

TEXTS = """
task = "classification"
[data]
kind = "texts"
train = "{folder}/train.jsonl"
valid = "{folder}/valid.jsonl"
[model]
hidden_size = 8
embed_size = 8
pooling = "mean"
bidirectional = true
output_dropout = 0.1
label_smoothing = 0.1
[optimizer]
learning_rate = 0.02
[train]
steps = 30
batch_size = 8
class_weights = "balanced"
evaluate_every = 10
"""

SENTENCES = """
task = "tagging"
[data]
train = "{folder}/train.conll"
valid = "{folder}/valid.conll"
test = "{folder}/test.conll"
[model]
hidden_size = 8
embed_size = 8
crf = {crf}
[optimizer]
learning_rate = 0.02
[train]
steps = 60
batch_size = 8
evaluate_every = 20
monitor = "valid_entity_f1"
"""


def write_series(folder: Path, count: int = 61) -> list[str]:
    """Series that rise, fall or stay, of 3 to 9 steps; the arguments of ``train``."""
    rng, lines = np.random.default_rng(0), ["id,x,y,label"]
    for n in range(count):
        name = CLASSES[n % 3]
        slope = {"rises": 1, "falls": -1, "stays": 0}[name]
        for t in range(3 + n % 7):
            x, y = slope * t + rng.normal() / 4, rng.normal()
            lines.append(f"s{n},{x:.4f},{y:.4f},{name}")
    (folder / "series.csv").write_text("\n".join(lines) + "\n")
    config = folder / "series.toml"
    config.write_text(SERIES.format(path=folder / "series.csv"))
    return [str(config)]


def write_texts(folder: Path) -> list[str]:
    """Films, good or bad by one word."""
    words = {"good": ("fine", "lovely"), "bad": ("dull", "poor")}
    for name, count in (("train", 40), ("valid", 12)):
        labels = [("good", "bad", "good")[n % 3] for n in range(count)]
        rows = [
            {"text": f"a {words[label][n % 2]} film, number {n}", "label": label}
            for n, label in enumerate(labels)
        ]
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (folder / f"{name}.jsonl").write_text(text)
    (folder / "texts.toml").write_text(TEXTS.format(folder=folder))
    return [str(folder / "texts.toml")]


def write_sentences(folder: Path, crf: bool) -> list[str]:
    """People who met in Rome, tagged."""
    for name, count in (("train", 60), ("valid", 12), ("test", 12)):
        lines = []
        for n in range(count):
            lines += [f"{('Ada', 'Ann')[n % 2]} B-PER", "Lee I-PER"][: 1 + n % 2]
            lines += [*["met O", "Bo B-PER", "in O", "Rome B-LOC"][n % 3 :], ""]
        (folder / f"{name}.conll").write_text("\n".join(lines) + "\n")
    config = folder / "sentences.toml"
    config.write_text(SENTENCES.format(folder=folder, crf=str(crf).lower()))
    return [str(config)]
