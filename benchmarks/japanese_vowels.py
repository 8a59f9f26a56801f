"""The accuracy of a classifier on JapaneseVowels, the mean of three seeds.

    python -m benchmarks.japanese_vowels FOLDER --runs runs/japanese_vowels

FOLDER holds JapaneseVowels_TRAIN.ts and JapaneseVowels_TEST.ts, as in the package
sktime. They are written as CSV, and configs/japanese_vowels.toml is trained on them.
The best checkpoint is chosen on a fifth of the training split. The test split is read
once.
"""

import argparse
import csv
import json
from pathlib import Path

import numpy as np

from benchmarks import RESULTS
from lstm_jax import files
from lstm_jax.config import read
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.train import train_run

CONFIG = Path(__file__).parent.parent / "configs" / "japanese_vowels.toml"


def read_ts(path: Path) -> list[tuple[np.ndarray, str]]:
    """Sequences ``[T, D]`` and their labels, from a file of the UEA archive."""
    lines = path.read_text(encoding="utf-8").splitlines()
    first = next(n for n, line in enumerate(lines) if line.strip().lower() == "@data")
    found = []
    for line in lines[first + 1 :]:
        *dimensions, label = line.split(":")
        values = [[float(x) for x in d.split(",")] for d in dimensions]
        found.append((np.array(values).T, label.strip()))
    return found


def write_csv(sequences, path: Path) -> None:
    """A row for every step."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        features = [f"x{n}" for n in range(sequences[0][0].shape[1])]
        rows.writerow(["id", *features, "label"])
        for n, (values, label) in enumerate(sequences):
            rows.writerows([n, *step.tolist(), label] for step in values)


def main(argv=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--runs", type=Path, default=Path("runs/japanese_vowels"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("overrides", nargs="*", metavar="key.path=value")
    args = parser.parse_intermixed_args(argv)
    args.runs.mkdir(parents=True, exist_ok=True)
    for split in ("TRAIN", "TEST"):
        sequences = read_ts(args.folder / f"JapaneseVowels_{split}.ts")
        write_csv(sequences, args.runs / f"{split.lower()}.csv")
    where = [f"data.train={args.runs / 'train.csv'}"]
    # Variants of the config are compared on validation alone.
    split = "valid" if args.overrides else "test"
    if split == "test":
        where += [f"data.test={args.runs / 'test.csv'}"]
    results = []
    for seed in range(args.seeds):
        folder = args.runs / f"seed-{seed}"
        more = [*where, f"seed={seed}", f"data.split_seed={seed}", *args.overrides]
        train_run(read_config(read(CONFIG), more), folder)
        results.append(json.loads((folder / f"result-{split}.json").read_text()))
    means = {
        name: float(np.mean([result[name] for result in results]))
        for name in ("accuracy", "loss")
    }
    print(f"{split}: {means}, accuracies {[result['accuracy'] for result in results]}")
    if split == "test":
        said = {"test": means, "seeds": results}
        files.write_json(RESULTS / "japanese_vowels-cpu.json", said)


if __name__ == "__main__":
    main()
