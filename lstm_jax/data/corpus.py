"""A text as train, valid and test splits."""

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from lstm_jax.data.records import COLUMN
from lstm_jax.data.stored import IN_MEMORY, UTF_8, Text, read_text, read_texts
from lstm_jax.data.text import DataError, counted, ends, python_reference

PARTS = {"train": ("train",), "valid": ("valid", "val"), "test": ("test",)}
"""Words that name a split in a file name. The first word that any file has counts."""

SHARES = (0.9, 0.05, 0.05)
"""Of a text that comes in one piece, in the order of `PARTS`."""

SHOWN = 10
"""So many files of a folder are named in an error."""


def read_corpus(
    path: str | Path = "",
    shares: Sequence[float] = SHARES,
    encoding: str = UTF_8,
    column: str = COLUMN,
    *,
    in_memory: int = IN_MEMORY,
) -> dict[str, Text]:
    """Text by part: ``train``, ``valid`` and, unless it is left out, ``test``.

    Args:
        path: empty for the Python language reference of this Python; a file, which is
            cut at characters by ``shares``; or a folder. Files are text, plain or
            compressed by gzip or zstd, or Parquet or array_record files with a text in
            every row. Of a folder, files whose names begin with a dot do not matter,
            and the first of these that fits is read:

            - one file for each part, which has ``train``, ``valid`` (or ``val``) or
              ``test`` in its name. There may be no ``test``, and other files do not
              matter.
            - one folder for each part, named in the same way. All files of it are
              one text.
            - files without such names. All of them are one text, which is cut like
              that of a file.

            Several files are one text in the order of their names, each on lines of its
            own.
        shares: of ``train``, ``valid`` and ``test``, 1 in all; a part with a share of 0
            is left out. A folder with names for the parts needs none.
        encoding: what text files are written in.
        column: the column of text of Parquet files.
        in_memory: a text of more bytes stays in its file.

    Raises:
        DataError: a file cannot be used, a part is missing or there are several files
            for it, or the text is too short for its parts.
    """
    whole = None
    if os.path.isdir(path):
        found = find_parts(Path(path))
        if isinstance(found, dict):
            return {
                part: _read(files, path, encoding, column, in_memory)
                for part, files in found.items()
            }
        whole = found
    _check_shares(shares)
    if whole is not None:
        text = _read(whole, path, encoding, column, in_memory)
    elif str(path):
        text = read_text(path, "", encoding, column, in_memory=in_memory)
    else:
        text = Text.of(python_reference())
    cut = zip(PARTS, text.cut(ends(text.characters, shares)), shares, strict=True)
    parts = {part: text for part, text, share in cut if share}
    if min(part.characters for part in parts.values()) < 2:
        raise DataError(
            f"the text has {counted(text.characters, 'character')}, too few to "
            f"split into {', '.join(parts)}; set data.path to a longer one."
        )
    return parts


def sha256(parts: Mapping[str, Text]) -> str:
    """Of all parts, their names, and where one ends and the next begins.

    >>> parts = {"train": Text.of("abc"), "valid": Text.of("d")}
    >>> sha256(parts) == sha256({"train": Text.of("ab"), "valid": Text.of("cd")})
    False
    """
    digest = hashlib.sha256()
    for part, text in parts.items():
        digest.update(f"{part} {len(text.data)}\n".encode())
        for chunk in text.chunks():
            digest.update(chunk.data)
    return digest.hexdigest()


def _read(files, folder, encoding, column, in_memory):
    names = [f"{file.relative_to(folder)} in data.path={folder}" for file in files]
    return read_texts(files, names, encoding, column, in_memory=in_memory)


def find_parts(folder: Path) -> dict[str, list[Path]] | list[Path]:
    """The files of each part, or all files where none has the name of a part, as in
    `read_corpus`."""
    there = _there(folder)
    files = [path for path in there if path.is_file()]
    folders = [path for path in there if path.is_dir()]
    if _chosen(files) or not (files or _chosen(folders)):
        return {part: [file] for part, file in _by_part(folder, files, "file").items()}
    if _chosen(folders):
        parts = _by_part(folder, folders, "folder")
        return {part: _files(inner) for part, inner in parts.items()}
    return files


def _there(folder):
    """What is in a folder, in the order of names."""
    try:
        inside = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"data.path={folder} cannot be read: {error.strerror}."
        ) from error
    return [path for path in inside if not path.name.startswith(".")]


def _files(folder):
    """All files of the folder of a part."""
    files = [path for path in _there(folder) if path.is_file()]
    if not files:
        raise DataError(
            f"data.path={folder.parent}: the folder {folder.name} has no files, "
            f"expected the text of its split."
        )
    return files


def _chosen(paths):
    return {path for words in PARTS.values() for path in _named(paths, words)}


def _by_part(folder, paths, kind):
    """The file or folder of each part."""
    found = {part: _named(paths, words) for part, words in PARTS.items()}
    train, valid, test = map(len, found.values())
    if (train, valid) != (1, 1) or test > 1 or len(_chosen(paths)) < 2 + test:
        said = "; ".join(f"{part}: {_listed(f)}" for part, f in found.items())
        raise DataError(
            f"data.path={folder} should have one {kind} with train in its name, one "
            f"with valid or val, at most one with test, and none with two of them; "
            f"found {said}; {kind}s there: {_listed(paths)}."
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
