"""Files of sentences and their translations.

two files    a sentence a line; line 7 of one is the translation of line 7 of the other
TSV          Ja.<TAB>Yes.
JSONL        {"source": "Ja.", "target": "Yes."}
"""

from pathlib import Path
from typing import BinaryIO

from lstm_jax.data.labelled.lines import split_lines
from lstm_jax.data.labelled.texts import JSONL, check_characters, field, read_jsonl
from lstm_jax.data.parallel.pairs import Pairs
from lstm_jax.data.text import (
    CHUNK,
    FILE_BYTES,
    DataError,
    counted,
    read_bytes,
)


def read_pairs(
    path: str | Path,
    translations: str | Path | None = None,
    *,
    source: str = "source",
    target: str = "target",
) -> Pairs:
    """Sentences and their translations, empty ones included.

    A line ends with ``\\n`` or ``\\r\\n`` and with nothing else. Files may be
    compressed by gzip.

    Args:
        path: the sentences to translate from, one per line; or both sides in one file
            of JSONL (``.jsonl``, ``.ndjson``, ``.json``) or TSV (any other name).
        translations: the translations, one per line; ``None`` where ``path`` has both.
        source, target: the keys of JSONL.

    Raises:
        DataError: the data cannot be used. The message names the file and the line:
            it is not UTF-8, has a NUL byte, lacks a side or has more than two; or it
            names both files and how many lines they have.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/a.tsv", "w") as file:
    ...         _ = file.write("Ja.\\tYes.\\nNein.\\tNo.\\n")
    ...     pairs = read_pairs(f"{folder}/a.tsv")
    >>> pairs.sources, pairs.targets
    (('Ja.', 'Nein.'), ('Yes.', 'No.'))
    """
    if translations is not None:
        return _read_aligned(path, translations)
    if str(path).lower().removesuffix(".gz").endswith(JSONL):
        return _read_jsonl(path, source, target)
    return _read_tsv(path)


def read_sentences(file: str | Path | BinaryIO, called: str = "") -> list[str]:
    """The sentences to translate, one per line, in their order; empty ones stay.

    Args:
        file: a file, which gzip may have compressed, or an open stream of bytes such
            as ``sys.stdin.buffer``.
        called: what errors call the file; its path if empty.

    Raises:
        DataError: there is no line at all, or it is not UTF-8 or has a NUL byte; the
            message names the file and the line.

    >>> import io
    >>> read_sentences(io.BytesIO(b"Ja.\\n\\nNein."), "standard input")
    ['Ja.', '', 'Nein.']
    """
    if isinstance(file, str | Path):
        called = called or str(file)
        data = read_bytes(file, called)
    else:
        called = called or "the stream"
        data = _read_stream(file, called)
    if not (lines := split_lines(data, called)):
        raise DataError(f"{called} is empty, expected a sentence a line.")
    return lines


def _read_stream(file, called):
    data = bytearray()
    try:
        while chunk := file.read(CHUNK):
            data += chunk
            if len(data) > FILE_BYTES:
                raise DataError(
                    f"{called} has more than {FILE_BYTES:,} bytes; cut it into parts."
                )
    except OSError as error:
        raise DataError(f"{called} cannot be read: {error.strerror}.") from error
    return bytes(data)


def _read_aligned(path, translations):
    sources, targets = read_sentences(path), read_sentences(translations)
    if len(sources) != len(targets):
        raise DataError(
            f"{path} has {counted(len(sources), 'line')} but {translations} has "
            f"{counted(len(targets), 'line')}, expected the same number, each the "
            f"translation of the same line; check that the files belong together."
        )
    where = f"{path} and {translations}"
    return Pairs(sources, targets, where, range(1, len(sources) + 1))


def _read_tsv(path):
    lines = read_sentences(path)
    rows = [line.split("\t") if line else ["", ""] for line in lines]
    for number, row in enumerate(rows, start=1):
        if len(row) != 2:
            advice = (
                "put one tab between source and target, or pass two files"
                if len(row) < 2
                else "keep two columns (cut -f1,2)"
            )
            raise DataError(
                f"{path}, line {number}: found {counted(len(row), 'column')}, expected "
                f"2, source and target; {advice}."
            )
    sources, targets = zip(*rows, strict=True)
    return Pairs(sources, targets, str(path), range(1, len(lines) + 1))


def _read_jsonl(path, source, target):
    sides, lines = ([], []), []
    for number, place, values in read_jsonl(path):
        lines.append(number)
        for side, key in zip(sides, (source, target), strict=True):
            side.append(_sentence(field(values, key, place), key, place))
    return Pairs(*sides, str(path), lines)


def _sentence(value, key, place):
    if not isinstance(value, str):
        raise DataError(f"{place}: {key!r} is {value!r}, expected a string.")
    if "\n" in value or "\0" in value:
        what = "a line end" if "\n" in value else "a NUL character"
        raise DataError(
            f"{place}: {key!r} has {what}, expected a sentence on one line; put a "
            f"space there."
        )
    check_characters(value, place)
    return value
