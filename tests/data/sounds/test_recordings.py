"""Manifests and folders of recordings, and their splits."""

import json
import os

import numpy as np
import pytest

from lstm_jax.data.sounds import (
    Recordings,
    by_group,
    read_recordings,
    split_recordings,
)
from tests.data.sounds.made import refusal

ROWS = [
    {"path": "wavs/a.wav", "text": " Good,\t morning \n", "speaker": "ann"},
    {"path": "wavs/grüße 你好.flac", "text": "schön", "speaker": "bob"},
    {"path": "b.wav", "text": "", "speaker": "ann"},
]
TEXTS = ("Good, morning", "schön", "")


@pytest.fixture
def folder(tmp_path):
    """Sound files, all empty since none is read."""
    (tmp_path / "wavs").mkdir()
    for row in ROWS:
        (tmp_path / row["path"]).touch()
    return tmp_path


def jsonl(folder, rows, name="list.jsonl", end="\n", front=""):
    lines = (row if isinstance(row, str) else json.dumps(row) for row in rows)
    (folder / name).write_bytes((front + end.join(lines) + end).encode())
    return folder / name


def table(folder, text, name="list.csv"):
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return folder / name


CSV = (
    'path,text,speaker\nwavs/a.wav," Good,\t morning \n",ann\n'
    "wavs/grüße 你好.flac,schön,bob\nb.wav,,ann\n"
)


def written(folder, kind):
    if kind == "csv":
        return table(folder, CSV), [2, 4, 5]
    if kind == "csv of Windows":
        return table(folder, "\ufeff" + CSV.replace("\n", "\r\n")), [2, 4, 5]
    if kind == "tsv":
        rows = "path\ttext\tspeaker\n" + "".join(
            f"{r['path']}\t{' '.join(r['text'].split())}\t{r['speaker']}\n"
            for r in ROWS
        )
        return table(folder, rows, "list.tsv"), [2, 3, 4]
    if kind == "jsonl of Windows":
        return jsonl(folder, ROWS, end="\r\n\r\n", front="\ufeff"), [1, 3, 5]
    return jsonl(folder, ROWS), [1, 2, 3]


@pytest.mark.parametrize(
    "kind", ["csv", "csv of Windows", "tsv", "jsonl", "jsonl of Windows"]
)
def test_manifest(folder, kind):
    path, lines = written(folder, kind)
    found = read_recordings(path, group="speaker")
    assert found.texts == TEXTS
    assert found.groups == ("ann", "bob", "ann")
    assert found.paths == tuple(str(folder / row["path"]) for row in ROWS)
    assert found.sources == tuple(f"{path}, line {n}" for n in lines)
    assert len(found) == 3
    found = read_recordings(str(path), text=None)
    assert (found.texts, found.groups) == (None, ())


def test_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns: dict[str, list[str | None]] = {
        key: [row[key] for row in ROWS] for key in ROWS[0]
    }
    parquet.write_table(pyarrow.table(columns), folder / "a.parquet")
    assert read_recordings(folder / "a.parquet", group="speaker").texts == TEXTS
    columns["text"] = ["a", None, "b"]
    parquet.write_table(pyarrow.table(columns), folder / "a.parquet")
    said = refusal(read_recordings, folder / "a.parquet")
    assert "row 2: 'text' is None, expected a transcript" in said


def test_other_keys_and_labels_that_are_numbers(folder):
    path = jsonl(folder, [{"file": "b.wav", "digit": 7, "room": 3}])
    found = read_recordings(path, audio="file", text="digit", group="room")
    assert (found.texts, found.groups) == (("7",), ("3",))


def test_absolute_paths_and_the_home_folder(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("USERPROFILE", str(folder))
    (folder / "lists").mkdir()
    names = [str(folder / "b.wav"), "~/b.wav", "../b.wav"]
    rows = [{"path": name, "text": "x"} for name in names]
    path = jsonl(folder / "lists", rows)
    monkeypatch.chdir(os.path.sep)
    found = read_recordings(path)
    assert all(os.path.samefile(p, folder / "b.wav") for p in found.paths)
    assert found.paths[0] == found.paths[1] == str(folder / "b.wav")
    assert read_recordings("~/lists/list.jsonl").paths == found.paths


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            {"path": "b.wav", "txt": "a"},
            "is no key 'text' (did you mean 'txt'?); its k",
        ),
        (
            {"Path": "b.wav", "text": "a"},
            "no key 'path' (did you mean 'Path'?); its key",
        ),
        (
            {"path": "b.wav", "text": "a"},
            "is no key 'speaker'; its keys are path, text",
        ),
        (
            {"path": "b.wav", "text": None, "speaker": "x"},
            "'text' is None, expected a t",
        ),
        (
            {"path": "b.wav", "text": ["a"], "speaker": "x"},
            "'text' is ['a'], expected a",
        ),
        (
            {"path": "b.wav", "text": True, "speaker": "x"},
            "'text' is True, expected a t",
        ),
        (
            {"path": "b.wav", "text": "\ud800", "speaker": "x"},
            "is half of a character;",
        ),
        (
            {"path": "b.wav", "text": "a", "speaker": ""},
            "'speaker' is '', expected a st",
        ),
        (
            {"path": "", "text": "a", "speaker": "x"},
            "'path' is '', expected the path of",
        ),
        (
            {"path": 3, "text": "a", "speaker": "x"},
            "'path' is 3, expected the path of a",
        ),
        (
            {"path": "wavs", "text": "a", "speaker": "x"},
            "'wavs', which is a folder, exp",
        ),
        (
            {"path": "a\0", "text": "a", "speaker": "x"},
            "the file cannot be read in the",
        ),
        ("{", "it is not JSON"),
    ],
)
def test_jsonl_that_cannot_be_used(folder, row, said):
    path = jsonl(folder, [ROWS[0], row])
    found = refusal(read_recordings, path, group="speaker")
    assert found.startswith(f"{path}, line 2")
    assert said in found


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "path,txt\nb.wav,a\n",
            "no column 'text' (did you mean 'txt'?); its columns are",
        ),
        (
            "file,text\nb.wav,a\n",
            "FILE has no column 'path'; its columns are file, text",
        ),
        (
            "path,text\nb.wav,a\n ,c\n",
            "FILE, line 3: column 'path' is empty, expected a",
        ),
        ("path,text\n", "FILE has the names of columns but no rows."),
        ("", "FILE is empty, expected data."),
        ("path,text\nb.wav,a,b\n", "FILE, line 2: found 3 cells, expected 2"),
        (b"path,text\nb.wav,a\nb.wav,\xff\n", "FILE, line 3: byte 0xff is not UTF-8"),
    ],
)
def test_csv_that_cannot_be_used(folder, text, said):
    path = table(folder, text)
    assert said in refusal(read_recordings, path).replace(str(path), "FILE")


def test_sound_files_that_do_not_exist(folder):
    path = table(folder, "path,text\nb.wav,a\nwavs/b.wav,c\n")
    assert refusal(read_recordings, path) == (
        f"{path}, line 3: 'path' is 'wavs/b.wav', but there is no such file in the "
        f"folder {folder}; correct the path, which is relative to the folder of the "
        f"manifest."
    )
    gone = folder / "gone.wav"
    path = jsonl(folder, [{"path": str(gone), "text": ""}])
    assert refusal(read_recordings, path) == (
        f"{path}, line 1: 'path' is {str(gone)!r}, but there is no such file; correct "
        f"the path."
    )


def test_a_sound_file_is_no_manifest(folder):
    said = refusal(read_recordings, folder / "b.wav")
    assert "b.wav is a sound file, expected a manifest (JSONL, CSV or Parq" in said
    assert "No such file" in refusal(read_recordings, folder / "gone.csv")
    assert "No such file" in refusal(read_recordings, "~nobody-of-this-name/a.csv")


def labelled(tmp_path, *names):
    for name in names:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_by_label(tmp_path):
    labelled(
        tmp_path,
        *("yes/2.WAV", "yes/1.flac", "no/ann/a.ogg", "turn  left/x.Aiff"),
        *("no/notes.txt", ".git/a.wav", "yes/.a.wav", "README.md", "no/.b/c.wav"),
    )
    found = read_recordings(tmp_path)
    names = ("no/ann/a.ogg", "turn  left/x.Aiff", "yes/1.flac", "yes/2.WAV")
    assert found.paths == found.sources == tuple(str(tmp_path / n) for n in names)
    assert found.texts == ("no", "turn left", "yes", "yes")
    assert found.groups == ()
    assert read_recordings(tmp_path, text=None).texts is None


def test_folders_that_cannot_be_used(tmp_path):
    assert "has no sound file, expected names" in refusal(read_recordings, tmp_path)
    labelled(tmp_path, "yes/a.m4a")
    said = refusal(read_recordings, tmp_path)
    assert "has no sound file (it has other files, such as 'a.m4a'), expec" in said
    labelled(tmp_path, "yes/a.wav", "b.wav")
    said = refusal(read_recordings, tmp_path)
    assert f"b.wav has no label, expected {tmp_path}/LABEL/b.wav with a" in said
    assert len(read_recordings(tmp_path, text=None)) == 2
    said = refusal(read_recordings, tmp_path, text=None, group="speaker")
    assert (
        "is a folder without manifest.jsonl or manifest.csv, so that 'speaker'" in said
    )


@pytest.mark.parametrize("name", ["manifest.jsonl", "manifest.csv"])
def test_folder_with_a_manifest(folder, name):
    if name.endswith("csv"):
        table(folder, CSV, name)
    else:
        jsonl(folder, ROWS, name)
    found = read_recordings(folder, group="speaker")
    assert found.texts == TEXTS
    assert found.sources[2].startswith(str(folder / name))
    (folder / "manifest.csv").touch()
    (folder / "manifest.jsonl").touch()
    said = refusal(read_recordings, folder)
    assert "has manifest.jsonl and manifest.csv, expected one of them" in said


def made(count, texts=None, groups=()):
    names = tuple(f"{n}.wav" for n in range(count))
    return Recordings(names, texts, groups, names)


def test_take():
    recordings = made(4, tuple("abcd"), tuple("wxyz"))
    found = recordings.take(np.array([2, 0]))
    assert found.paths == found.sources == ("2.wav", "0.wav")
    assert (found.texts, found.groups) == (("c", "a"), ("y", "w"))
    assert made(2).take([1]).texts is None


@pytest.mark.parametrize("texts", [None, tuple(map(str, range(100)))])
def test_splits_of_sentences(texts):
    recordings = made(100, texts, ("ann",) * 100)
    splits = split_recordings(recordings, (0.8, 0.1, 0.1), 3)
    assert {n: len(s) for n, s in splits.items()} == {
        "train": 80,
        "valid": 10,
        "test": 10,
    }
    paths = [p for split in splits.values() for p in split.paths]
    assert sorted(paths) == sorted(recordings.paths)
    again = split_recordings(recordings, (0.8, 0.1, 0.1), 3)
    assert again["test"].paths == splits["test"].paths
    assert split_recordings(recordings, seed=4)["test"].paths != splits["test"].paths
    assert [*split_recordings(recordings, (0.9, 0.1, 0.0))] == ["train", "valid"]


def test_splits_of_labels_are_stratified():
    texts = tuple("yes" if n % 10 else "no" for n in range(100))
    splits = split_recordings(made(100, texts), (0.6, 0.2, 0.2), 0)
    counts = {
        name: [*(split.texts or ())].count("no") for name, split in splits.items()
    }
    assert counts == {"train": 6, "valid": 2, "test": 2}


def test_splits_that_cannot_be_made():
    assert "expected three that add up to 1" in refusal(
        split_recordings, made(9), (0.5, 0.2, 0.2)
    )
    assert "1 example leaves none for valid" in refusal(split_recordings, made(1))


def test_by_group():
    recordings = made(4, tuple("abcd"), ("ann", "bob", "cid", "bob"))
    inside, outside = by_group(recordings, ["bob", "cid"])
    assert inside.paths == ("1.wav", "2.wav", "3.wav")
    assert outside.paths == ("0.wav",)
    assert inside.groups == ("bob", "cid", "bob")
    assert by_group(recordings, "bob")[0].paths == ("1.wav", "3.wav")
    assert refusal(by_group, recordings, ["ann", "bo"]) == (
        "there is no recording of the group 'bo'; the groups are ann, bob, cid; choose "
        "among them."
    )
    assert "the recordings have no groups" in refusal(by_group, made(3), ["ann"])
