"""Recordings with their transcripts, from a manifest or from folders by label."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lstm_jax.data.labelled.texts import check_characters
from lstm_jax.data.sounds.manifest import read_manifest, spaced
from lstm_jax.data.text import DataError

SUFFIXES = (
    *(".wav", ".flac", ".ogg", ".opus", ".mp3"),
    *(".aif", ".aiff", ".au", ".w64"),
)
"""How the names of sound files end, in upper or lower case."""

MANIFESTS = ("manifest.jsonl", "manifest.csv")
"""A folder with one of these files is read by it."""


@dataclasses.dataclass(frozen=True, eq=False)
class Recordings:
    """Sound files with what is known of them, in the order of their manifest."""

    paths: tuple[str, ...]
    """Of the sound files."""
    texts: tuple[str, ...] | None
    """Transcripts or labels; ``None`` where none were read."""
    groups: tuple[str, ...]
    """What each recording belongs to, such as the speaker; empty where none were
    read."""
    sources: tuple[str, ...]
    """The file and the line that each recording comes from, for errors."""

    def __len__(self):
        return len(self.paths)

    def take(self, indices: Sequence[int] | np.ndarray) -> "Recordings":
        """The recordings at ``indices``, in that order."""
        pick = lambda values: tuple(values[i] for i in indices)
        texts = None if self.texts is None else pick(self.texts)
        groups = pick(self.groups) if self.groups else ()
        return Recordings(pick(self.paths), texts, groups, pick(self.sources))


def read_recordings(
    path: str | Path, *, audio: str = "path", text: str | None = "text", group: str = ""
) -> Recordings:
    """Lists recordings and their transcripts. No sound is read yet.

        JSONL      {"path": "wavs/a.flac", "text": "good morning", "speaker": "ann"}
        CSV        path,text,speaker
                   wavs/a.flac,good morning,ann
        folders    FOLDER/LABEL/a.wav, at any depth below LABEL; the text is LABEL

    Paths in a manifest are relative to the folder of the manifest. White space in texts
    becomes single spaces. The empty text is the transcript of silence. A folder with
    ``manifest.jsonl`` or ``manifest.csv`` is read by that manifest. In other folders,
    files without a sound suffix (``SUFFIXES``) and hidden ones are left out.

    Args:
        path: a manifest (``.jsonl``, ``.ndjson``, ``.json``, Parquet, or else CSV) or a
            folder.
        audio, text, group: the names of the keys or columns. ``text=None`` reads no
            transcripts; sound files may then stand at any depth of a folder.
            ``group=""`` reads no groups.

    Raises:
        DataError: the data cannot be used. The message names the file and the line: a
            key or column is missing, a sound file does not exist, there is no row or
            no sound file, or a sound file was passed.

    >>> import pathlib, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in ("yes", "no"):
    ...         pathlib.Path(folder, name).mkdir()
    ...         pathlib.Path(folder, name, "1.wav").touch()
    ...     recordings = read_recordings(folder)
    >>> recordings.texts
    ('no', 'yes')
    """
    path = Path(os.path.expanduser(path))
    if not path.is_dir():
        if path.suffix.lower() in SUFFIXES:
            raise DataError(
                f"{path} is a sound file, expected a manifest (JSONL, CSV or Parquet) "
                f"or a folder; pass the folder of the file, or write a manifest that "
                f"names the file."
            )
        return _from_manifest(path, audio, text, group)
    found = [name for name in MANIFESTS if os.path.lexists(path / name)]
    if len(found) > 1:
        raise DataError(
            f"{path} has {' and '.join(found)}, expected one of them; pass the path of "
            f"the one that counts."
        )
    if found:
        return _from_manifest(path / found[0], audio, text, group)
    if group:
        raise DataError(
            f"{path} is a folder without {' or '.join(MANIFESTS)}, so that {group!r} "
            f"of its files is not known; add a manifest, or leave the group out."
        )
    return _from_folder(path, labelled=text is not None)


def _from_manifest(path, audio, text, group):
    rows = read_manifest(path, audio, text, group)
    texts = None if text is None else tuple(row.text or "" for row in rows)
    groups = tuple(row.group or "" for row in rows) if group else ()
    paths, sources = zip(*((row.path, row.source) for row in rows), strict=True)
    return Recordings(paths, texts, groups, sources)


def _from_folder(folder, labelled):
    paths, other = [], None
    for here, inside, files in os.walk(folder, onerror=_refuse):
        inside[:] = [name for name in inside if not name.startswith(".")]
        for name in files:
            if name.startswith("."):
                continue
            if os.path.splitext(name)[1].lower() in SUFFIXES:
                paths.append(os.path.join(here, name))
            else:
                other = other or name
    if not paths:
        seen = f" (it has other files, such as {other!r})" if other else ""
        raise DataError(
            f"{folder} has no sound file{seen}, expected names that end with "
            f"{', '.join(SUFFIXES)}; convert the files, or pass another folder."
        )
    paths.sort()
    if not labelled:
        return Recordings(tuple(paths), None, (), tuple(paths))
    texts = tuple(_label(path, folder) for path in paths)
    return Recordings(tuple(paths), texts, (), tuple(paths))


def _refuse(error):
    raise DataError(f"{error.filename} cannot be read: {error.strerror}.") from error


def _label(path, folder):
    first, *rest = Path(path).relative_to(folder).parts
    if not rest:
        raise DataError(
            f"{path} has no label, expected {folder}/LABEL/{first} with a folder for "
            f"each label; move it there, or add {MANIFESTS[0]} with the transcripts."
        )
    check_characters(first, path)
    return spaced(first)
