"""Manifests: lists of sound files with their transcripts."""

import difflib
import os
import stat
from pathlib import Path
from typing import Any, NamedTuple

from lstm_jax.data.labelled.table import listed, read_table
from lstm_jax.data.labelled.texts import (
    JSONL,
    check_characters,
    label_name,
    read_jsonl,
)
from lstm_jax.data.text import DataError


class Row(NamedTuple):
    """One recording of a manifest."""

    path: str
    text: str | None
    group: str | None
    source: str


def read_manifest(path: Path, audio: str, text: str | None, group: str) -> list[Row]:
    """The rows of a manifest; arguments and errors are those of `read_recordings`."""
    jsonl = path.name.lower().removesuffix(".gz").endswith(JSONL)
    read = _read_jsonl if jsonl else _read_table
    return [
        Row(
            _existing(name, path.parent, audio, source),
            None if text is None else _transcript(words, text, source),
            group_name,
            source,
        )
        for name, words, group_name, source in read(path, audio, text, group)
    ]


def spaced(text: str) -> str:
    """A text with single spaces, and none at its ends.

    >>> spaced(" two\\t words \\n")
    'two words'
    """
    return " ".join(text.split())


def _read_jsonl(path, audio, text, group):
    for _, source, values in read_jsonl(path):
        name = _field(values, audio, source, "audio")
        if not isinstance(name, str) or not name.strip():
            raise DataError(
                f"{source}: {audio!r} is {name!r}, expected the path of a sound file."
            )
        words = None if text is None else _field(values, text, source, "text")
        group_name = None
        if group:
            value = _field(values, group, source, "group")
            group_name = label_name(value, group, source)
        yield name, words, group_name, source


def _field(values, name, source, option):
    if name in values:
        return values[name]
    near = difflib.get_close_matches(name, values, 1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise DataError(
        f"{source}: there is no key {name!r}{hint}; its keys are {listed(values)}; set "
        f"{option} to one of them."
    )


def _read_table(path, audio, text, group):
    table = read_table(path)
    names = table.words(audio, "audio")
    nothing = [None] * len(table)
    texts = nothing if text is None else table.column(text, "text")
    groups = table.words(group, "group") if group else nothing
    places = map(table.place, range(len(table)))
    yield from zip(names, texts, groups, places, strict=True)


def _transcript(value: Any, key, source) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise DataError(
            f"{source}: {key!r} is {value!r}, expected a transcript, which is a string "
            f"or a whole number; the transcript of silence is ''."
        )
    check_characters(str(value), source)
    return spaced(str(value))


def _existing(name, folder, audio, source):
    """The path of a sound file that a manifest names."""
    expanded = os.path.expanduser(name)
    path = os.path.join(folder, expanded)
    try:
        folder_mode = stat.S_ISDIR(os.stat(path).st_mode)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        relative = "" if os.path.isabs(expanded) else f" in the folder {folder}"
        missing = isinstance(error, FileNotFoundError)
        what = "there is no such file" if missing else "the file cannot be read"
        reason = "" if missing else f" ({getattr(error, 'strerror', None) or error})"
        advice = "correct the path"
        if relative:
            advice += ", which is relative to the folder of the manifest"
        raise DataError(
            f"{source}: {audio!r} is {name!r}, but {what}{relative}{reason}; {advice}."
        ) from error
    if folder_mode:
        raise DataError(
            f"{source}: {audio!r} is {name!r}, which is a folder, expected a sound "
            f"file."
        )
    return path
