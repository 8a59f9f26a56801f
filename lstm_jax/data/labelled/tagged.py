"""Sentences with a tag for every token, from JSONL or two columns.

    JSONL     {"tokens": ["Ada", "met", "Ann"], "tags": ["B-PER", "O", "B-PER"]}
    columns   Ada B-PER          a token a line; the first column is the token, the last
              met O              one the tag; a blank line ends a sentence
              Ann B-PER

The second form is that of the CoNLL shared tasks (Tjong Kim Sang & De Meulder 2003).
"""

from collections.abc import Collection
from pathlib import Path

from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.lines import read_lines
from lstm_jax.data.labelled.table import listed
from lstm_jax.data.labelled.texts import (
    JSONL,
    check_characters,
    field,
    label_name,
    read_jsonl,
)
from lstm_jax.data.text import DataError, counted

DOCUMENT = "-DOCSTART-"
"""Stands in place of a sentence where a document begins, in the data of CoNLL."""


TABLES = (".csv", ".parquet", ".pq", ".npz", ".npy")
"""Files that hold no sentences."""

FORM = (
    "write every token on a line of its own and an empty line between sentences, or "
    "write JSONL"
)
"""The advice if a file of columns cannot be read."""


def read_tagged(
    path: str | Path,
    *,
    tokens: str = "tokens",
    tags: str | None = "tags",
    classes: Collection[str] = (),
) -> Examples:
    """Sentences, tuples of tokens, with a tuple of tags each.

    A line ``-DOCSTART-`` of CoNLL is a mark, not a sentence. All other lines of a file
    have the same number of columns.

    Args:
        path: a file of JSONL (``.jsonl``, ``.ndjson``, ``.json``), or one of columns
            between spaces or tabs.
        tokens, tags: the names of the keys of JSONL. ``tags=None``: there are no tags,
            and a file of columns has a token a line.
        classes: without ``tags``, a file of several columns is read if its last column
            holds nothing but these tags. Otherwise it could hold words.

    Raises:
        DataError: the data cannot be used. The message names the line: a key or column
            is missing, a sentence is empty, its tokens and tags differ in number, or a
            token has white space.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/a.conll", "w") as file:
    ...         _ = file.write("Ada B-PER\\nmet O\\n\\nNo O\\n")
    ...     examples = read_tagged(f"{folder}/a.conll")
    >>> examples.sequences, examples.labels
    ((('Ada', 'met'), ('No',)), (('B-PER', 'O'), ('O',)))
    """
    name = str(path).lower()
    if name.endswith(TABLES):
        raise DataError(
            f"{path} is a table, expected sentences; {FORM} with {tokens!r}."
        )
    if name.endswith(JSONL):
        rows = _of_jsonl(path, tokens, tags)
    else:
        rows = _of_columns(path, tags, classes)
    sources, sentences, labels = zip(*rows, strict=True)
    return Examples(sentences, None if tags is None else labels, sources)


def _of_jsonl(path, tokens, tags):
    for _, source, values in read_jsonl(path):
        sentence = _list(values, tokens, source)
        if not sentence:
            raise DataError(
                f"{source}: {tokens!r} is empty, expected one token or more; remove "
                f"the line."
            )
        for token in sentence:
            if not isinstance(token, str) or token.split() != [token]:
                raise DataError(
                    f"{source}: {token!r} in {tokens!r} is not a token, expected a "
                    f"string without white space that is not empty."
                )
            check_characters(token, source)
        if tags is None:
            yield source, tuple(sentence), ()
            continue
        found = _list(values, tags, source)
        if len(found) != len(sentence):
            raise DataError(
                f"{source}: {tokens!r} has {counted(len(sentence), 'token')} and "
                f"{tags!r} has {counted(len(found), 'tag')}, expected a tag for every "
                f"token."
            )
        yield source, tuple(sentence), tuple(label_name(t, tags, source) for t in found)


def _list(values, name, source):
    found = field(values, name, source)
    if not isinstance(found, list):
        raise DataError(f"{source}: {name!r} is {found!r}, expected a list.")
    return found


def _of_columns(path, tags, classes):
    start, sentence, first = 0, [], None
    lines = read_lines(path)
    for number, line in enumerate([*lines, ""], start=1):
        cells = line.split()
        if cells and cells[0] == DOCUMENT:
            continue
        if cells:
            first = first or (number, len(cells))
            if len(cells) != first[1]:
                raise DataError(
                    f"{path}, line {number} has {counted(len(cells), 'column')}, but "
                    f"line {first[0]} has {first[1]}, expected the same number in "
                    f"every line; {FORM}."
                )
            if tags is not None and len(cells) < 2:
                raise DataError(
                    f"{path}, line {number}: there is no tag beside {cells[0]!r}, "
                    f"expected a token and a tag with a space or a tab between."
                )
            if tags is None and len(cells) > 1 and cells[-1] not in classes:
                known = f" of the run ({listed([*classes])})" * bool(classes)
                raise DataError(
                    f"{path}, line {number} has {len(cells)} columns, and the last "
                    f"one, {cells[-1]!r}, is not a tag{known}. Expected one token, or "
                    f"a token with columns that end in a known tag; {FORM}."
                )
            start = start or number
            sentence.append((cells[0], cells[-1]))
        elif sentence:
            tokens, found = zip(*sentence, strict=True)
            yield f"{path}, line {start}", tokens, found
            start, sentence = 0, []
    if all(not line.split() or line.split()[0] == DOCUMENT for line in lines):
        raise DataError(f"{path} has no sentence, expected one or more.")
