"""Sentences with a tag for every token, from JSONL or two columns.

    JSONL     {"tokens": ["Ada", "met", "Ann"], "tags": ["B-PER", "O", "B-PER"]}
    columns   Ada B-PER          a token a line; the first column is the token, the last
              met O              one the tag; a blank line ends a sentence
              Ann B-PER

The second form is that of the CoNLL shared tasks (Tjong Kim Sang & De Meulder 2003).
"""

from pathlib import Path

from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.lines import read_lines
from lstm_jax.data.labelled.texts import (
    JSONL,
    check_characters,
    field,
    label_name,
    read_jsonl,
)
from lstm_jax.data.text import DataError

DOCUMENT = "-DOCSTART-"
"""Stands in place of a sentence where a document begins, in the data of CoNLL."""


def read_tagged(
    path: str | Path, *, tokens: str = "tokens", tags: str | None = "tags"
) -> Examples:
    """Sentences, tuples of tokens, with a tuple of tags each.

    A line ``-DOCSTART-`` of CoNLL is a mark, not a sentence.

    Args:
        path: a file of JSONL (``.jsonl``, ``.ndjson``, ``.json``), or one of columns
            between spaces or tabs.
        tokens, tags: the names of the keys of JSONL. ``tags=None``: there are no tags,
            and a file of columns has a token a line.

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
    jsonl = str(path).lower().endswith(JSONL)
    rows = _of_jsonl(path, tokens, tags) if jsonl else _of_columns(path, tags)
    sources, sentences, labels = zip(*rows, strict=True)
    return Examples(sentences, None if tags is None else labels, sources)


def _of_jsonl(path, tokens, tags):
    for source, values in read_jsonl(path):
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
                f"{source}: there are {len(sentence)} {tokens} and {len(found)} "
                f"{tags}, expected a tag for every token."
            )
        yield source, tuple(sentence), tuple(label_name(t, tags, source) for t in found)


def _list(values, name, source):
    found = field(values, name, source)
    if not isinstance(found, list):
        raise DataError(f"{source}: {name!r} is {found!r}, expected a list.")
    return found


def _of_columns(path, tags):
    start, sentence = 0, []
    lines = read_lines(path)
    for number, line in enumerate([*lines, ""], start=1):
        cells = line.split()
        if cells and cells[0] == DOCUMENT:
            continue
        if cells:
            if tags is not None and len(cells) < 2:
                raise DataError(
                    f"{path}, line {number}: there is no tag beside {cells[0]!r}, "
                    f"expected a token and a tag with a space or a tab between."
                )
            start = start or number
            sentence.append((cells[0], cells[-1]))
        elif sentence:
            tokens, found = zip(*sentence, strict=True)
            yield f"{path}, line {start}", tokens, found
            start, sentence = 0, []
    if all(not line.split() or line.split()[0] == DOCUMENT for line in lines):
        raise DataError(f"{path} has no sentence, expected one or more.")
