"""Manifests of the Free Spoken Digit Dataset, and strings of its digits.

    python scripts/fsdd.py recordings.tar.gz --out fsdd

unpacks the recordings and writes manifests with path, text and speaker:

    train.jsonl, test.jsonl     the official split: recordings 0 to 4 are for testing
    all.jsonl                   all recordings, to leave speakers out
    train_strings.jsonl         recordings 10 to 49, to be joined in training
    valid_strings.jsonl         strings of 2 to 7 digits, made of recordings 5 to 9
    test_strings.jsonl          the same, made of the test recordings

Strings have gaps of 50 to 400 ms of silence and white noise at 20, 10 or 0 dB, given as
``noise``. The data: github.com/Jakobovski/free-spoken-digit-dataset, CC BY-SA 4.0.
"""

import argparse
import io
import json
import tarfile
from pathlib import Path

import numpy as np
import soundfile

from lstm_jax.data.sounds import augment

RATE = 8000
WORDS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
TESTS = range(5)
"""Recordings of each digit and speaker to test on."""
VALIDS = range(5, 10)
"""Recordings that the strings to validate on are made of."""
NOISES = 20, 10, 0
STRINGS = 200
"""Strings of every signal-to-noise ratio."""
GAPS = 0.05, 0.4


def main() -> None:
    """Writes everything."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("archive", type=Path, help="recordings.tar.gz")
    parser.add_argument("--out", type=Path, default=Path("fsdd"))
    args = parser.parse_args()
    args.out.mkdir(parents=True)
    rows = unpack(args.archive, args.out)
    tests = [row for row in rows if row["number"] in TESTS]
    write(args.out / "all.jsonl", rows)
    write(args.out / "train.jsonl", [row for row in rows if row not in tests])
    write(args.out / "test.jsonl", tests)
    valid = [row for row in rows if row["number"] in VALIDS]
    train = [row for row in rows if row["number"] not in {*TESTS, *VALIDS}]
    write(args.out / "train_strings.jsonl", train)
    for n, (name, some) in enumerate((("valid", valid), ("test", tests))):
        made = strings(some, args.out, name, np.random.default_rng(n))
        write(args.out / f"{name}_strings.jsonl", made)


def unpack(archive: Path, out: Path) -> list[dict]:
    """Writes the recordings, and returns a row of the manifest for each."""
    (out / "recordings").mkdir()
    rows = []
    with tarfile.open(archive) as tar:
        for member in tar:
            name = Path(member.name).name
            if not (member.isfile() and name.endswith(".wav")):
                continue
            file = tar.extractfile(member)
            assert file is not None
            path = Path("recordings") / name
            (out / path).write_bytes(file.read())
            digit, speaker, number = path.stem.split("_")
            text = WORDS[int(digit)]
            row = dict(path=str(path), text=text, speaker=speaker, noise="none")
            rows.append(row | {"number": int(number)})
    return sorted(rows, key=lambda row: row["path"])


def strings(rows, out: Path, name: str, rng: np.random.Generator) -> list[dict]:
    """Strings of digits of one speaker each, in noise."""
    speakers = sorted({row["speaker"] for row in rows})
    (out / f"{name}_strings").mkdir()
    made = []
    for noise in NOISES:
        for n in range(STRINGS):
            speaker = speakers[n % len(speakers)]
            own = [row for row in rows if row["speaker"] == speaker]
            some = [own[i] for i in rng.choice(len(own), rng.integers(2, 8))]
            gaps = augment.draw_gaps(rng, len(some), *GAPS, RATE)
            sound = augment.join([read(out / row["path"]) for row in some], gaps)
            sound = augment.add_noise(sound, rng, noise, noise)
            path = Path(f"{name}_strings") / f"{noise}dB_{n:03}.wav"
            soundfile.write(out / path, sound, RATE, subtype="FLOAT")
            text = " ".join(row["text"] for row in some)
            group = f"{noise}dB"
            made.append(dict(path=str(path), text=text, speaker=speaker, noise=group))
    return made


def read(path: Path) -> np.ndarray:
    """Samples of a recording of the data, between -1 and 1."""
    samples, rate = soundfile.read(io.BytesIO(path.read_bytes()), dtype="float32")
    assert rate == RATE, f"{path} has {rate} Hz"
    return samples


def write(path: Path, rows: list[dict]) -> None:
    """A manifest."""
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))


if __name__ == "__main__":
    main()
