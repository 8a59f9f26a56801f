"""Labelled texts, from JSONL or CSV.

JSONL    {"text": "a fine film", "label": "good"}
CSV      text,label
         "a fine film",good
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lstm_jax.data.labelled.examples import Examples
from lstm_jax.data.labelled.lines import read_lines
from lstm_jax.data.labelled.table import listed, read_table
from lstm_jax.data.text import DataError

JSONL = (".jsonl", ".ndjson", ".json")


def read_texts(
    path: str | Path,
    *,
    text: str = "text",
    label: str | None = "label",
    delimiter: str = ",",
) -> Examples:
    """Texts with a label each; a blank line is no text.

    Args:
        path: a file of JSONL (``.jsonl``, ``.ndjson``, ``.json``) or a table, as in
            `lstm_jax.data.labelled.read_table`.
        text, label: the names of the keys or columns; without labels, ``label=None``.
        delimiter: what stands between the cells of a CSV file.

    Raises:
        DataError: the data cannot be used. The message names the line: it is not JSON,
            a key or column is missing, a text or a label is empty or not text.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with open(f"{folder}/a.csv", "w") as file:
    ...         _ = file.write('text,label\\n"Good, very good.",1\\nBad.,0\\n')
    ...     examples = read_texts(f"{folder}/a.csv")
    >>> examples.sequences, examples.labels
    (('Good, very good.', 'Bad.'), ('1', '0'))
    """
    if str(path).lower().endswith(JSONL):
        return _read_jsonl(path, text, label)
    table = read_table(path, delimiter)
    labels = table.words(label, "label") if label is not None else None
    table.words(text, "text")  # none is empty
    texts = [str(cell) for cell in table.column(text, "text")]
    sources = [table.place(row) for row in range(len(table))]
    return Examples(tuple(texts), labels, sources)


def _read_jsonl(path, text, label):
    texts, labels, sources = [], [], []
    for _, source, values in read_jsonl(path):
        value = field(values, text, source)
        if not isinstance(value, str) or not value.strip():
            raise DataError(
                f"{source}: {text!r} is {value!r}, expected a text that is not empty."
            )
        check_characters(value, source)
        texts.append(value)
        sources.append(source)
        if label is not None:
            labels.append(label_name(field(values, label, source), label, source))
    return Examples(tuple(texts), labels if label is not None else None, sources)


def read_jsonl(path: str | Path) -> Iterator[tuple[int, str, dict[str, Any]]]:
    """Of every line that is not blank: its number, the file and the line as errors
    call them, and the object.

    Raises:
        DataError: a line is not a JSON object.
    """
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            continue
        source = f"{path}, line {number}"
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{source}: it is not JSON ({error}), expected one object a line."
            ) from error
        if not isinstance(values, dict):
            raise DataError(
                f"{source}: it is a {type(values).__name__}, expected an object "
                f"{{...}}."
            )
        yield number, source, values


def field(values: dict[str, Any], name: str, source: str) -> Any:
    """The value of a key.

    Raises:
        DataError: there is no such key.
    """
    if name not in values:
        raise DataError(
            f"{source}: there is no key {name!r}; its keys are {listed(values)}."
        )
    return values[name]


def label_name(value: Any, key: str, source: str) -> str:
    """A label, a string or a whole number, as the name of a class.

    Raises:
        DataError: it is something else, or empty.
    """
    name = str(value).strip()
    if isinstance(value, bool) or not isinstance(value, str | int) or not name:
        raise DataError(
            f"{source}: {key!r} is {value!r}, expected a string that is not empty or a "
            f"whole number."
        )
    return name


def check_characters(text: str, source: str) -> None:
    """Raises DataError where a text has halves of characters, as JSON can write."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(
            f"{source}: {text[error.start]!r} is half of a character; remove it, or "
            f"write the whole character."
        ) from error
