"""A text in the parts that it is learned from, chosen by and tested on."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lstm_jax.data.text import DataError, python_reference, read_text, split

PARTS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
"""What the name of a file has in it, the first that any file has."""

SHARES = (0.9, 0.05, 0.05)
"""Of a text that comes in one piece, in the order of `PARTS`."""

SHOWN = 10
"""So many files of a folder are named in an error."""


def read_corpus(
    path: str | Path = "", shares: Sequence[float] = SHARES
) -> dict[str, str]:
    """Text by part: ``train``, ``valid`` and, unless it is left out, ``test``.

    Args:
        path: empty for the Python language reference of this Python; a file, which is
            cut at characters by ``shares``; or a folder with one file for each part,
            which has ``train``, ``valid`` (or ``val``) or ``test`` in its name. There
            may be no ``test``, and other files do not matter. Files are UTF-8, or that
            compressed by gzip.
        shares: of ``train``, ``valid`` and ``test``, 1 in all; a part with a share of 0
            is left out. A folder needs none.

    Raises:
        DataError: a file cannot be used, a part is missing or there are several files
            for it, or the text is too short for its parts.
    """
    if os.path.isdir(path):
        return _read_folder(Path(path))
    _check_shares(shares)
    text = read_text(path) if str(path) else python_reference()
    cut = zip(PARTS, split(text, tuple(shares)), shares, strict=True)
    parts = {part: text for part, text, share in cut if share}
    if min(map(len, parts.values())) < 2:
        raise DataError(
            f"the text has {len(text)} characters, too few to split into "
            f"{', '.join(parts)}; set data.path to a longer one."
        )
    return parts


def sha256(parts: Mapping[str, str]) -> str:
    """Of all parts, their names, and where one ends and the next begins.

    >>> parts = {"train": "abc", "valid": "d"}
    >>> sha256(parts) == sha256({"train": "ab", "valid": "cd"})
    False
    """
    digest = hashlib.sha256()
    for part, text in parts.items():
        data = text.encode()
        digest.update(f"{part} {len(data)}\n".encode() + data)
    return digest.hexdigest()


def _read_folder(folder):
    files = find_parts(folder)
    called = {
        part: f"{file.name} in data.path={folder}" for part, file in files.items()
    }
    return {part: read_text(file, called[part]) for part, file in files.items()}


def find_parts(folder: Path) -> dict[str, Path]:
    """The file of each part, as in `read_corpus`."""
    try:
        there = [file for file in sorted(folder.iterdir()) if file.is_file()]
    except OSError as error:
        raise DataError(
            f"data.path={folder} cannot be read: {error.strerror}."
        ) from error
    files = [file for file in there if not file.name.startswith(".")]
    found = {part: _named(files, words) for part, words in PARTS.items()}
    train, valid, test = map(len, found.values())
    chosen = {file for named in found.values() for file in named}
    if (train, valid) != (1, 1) or test > 1 or len(chosen) < train + valid + test:
        said = "; ".join(f"{part}: {_listed(f)}" for part, f in found.items())
        raise DataError(
            f"data.path={folder} should have one file with train in its name, one with "
            f"valid or val, at most one with test, and none with two of them; found "
            f"{said}; files there: {_listed(files)}."
        )
    return {part: named[0] for part, named in found.items() if named}


def _named(files, words):
    """Those with the first word that any of them has."""
    for word in words:
        if named := [file for file in files if word in file.name.lower()]:
            return named
    return []


def _listed(files):
    names = ", ".join(file.name for file in files[:SHOWN])
    more = f" and {len(files) - SHOWN} more" if len(files) > SHOWN else ""
    return (names or "none") + more


def _check_shares(shares):
    total = sum(shares)
    if len(shares) != len(PARTS) or not abs(total - 1) < 1e-6:
        problem = f"{len(shares)} numbers that add up to {total:g}"
    elif min(shares) < 0 or shares[0] == 0:
        problem = f"{min(shares):g} as a share"
    else:
        return
    raise DataError(
        f"shares={list(shares)} has {problem}, expected three that add up to 1: "
        f"train above 0, valid and test 0 or more."
    )
