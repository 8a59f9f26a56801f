"""Files of pairs: what is read, what is left out, and what is said of errors."""

import gzip
import io
import json

import pytest

from lstm_jax.data.parallel import Pairs, read_pairs, read_sentences, without_empty
from lstm_jax.data.text import DataError

SOURCES = ("Ein Hund.", "", " zwei\u2028Katzen\x0b, \x85", "🎉\r!", "Schluß")
TARGETS = ("A dog.", "nothing", "two cats", "", "the end")


def written(tmp_path, name, data):
    path = tmp_path / name
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def refusal(tmp_path, read, *paths, **options):
    with pytest.raises(DataError) as caught:
        read(*paths, **options)
    said = str(caught.value)
    assert said.endswith(".")
    return said.replace(f"{tmp_path}/", "")


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("last", [True, False])
@pytest.mark.parametrize("packed", [False, True])
def test_two_files(tmp_path, end, last, packed):
    """Only a line feed ends a line; a mark, its CR and a last line end are no text."""
    pack = gzip.compress if packed else bytes
    text = ["\ufeff" + end.join(x) + end * last for x in (SOURCES, TARGETS)]
    a, b = (
        written(tmp_path, name, pack(side.encode()))
        for name, side in zip(("a.de", "a.en"), text, strict=True)
    )
    pairs = read_pairs(a, b)
    assert (pairs.sources, pairs.targets) == (SOURCES, TARGETS)
    assert pairs.place(4) == f"{a} and {b}, line 5"


def test_tsv(tmp_path):
    lines = [f"{s}\t{t}" for s, t in zip(SOURCES, TARGETS, strict=True)]
    path = written(tmp_path, "a.tsv", "\n".join(lines) + "\n\n")
    pairs = read_pairs(path)
    assert (pairs.sources, pairs.targets) == ((*SOURCES, ""), (*TARGETS, ""))
    assert pairs.place(5) == f"{path}, line 6"


@pytest.mark.parametrize("name", ["a.jsonl", "a.JSON.gz"])
def test_jsonl(tmp_path, name):
    both = zip(SOURCES, TARGETS, strict=True)
    rows = [json.dumps({"de": s, "en": t, "id": 3}) for s, t in both]
    data = "\n\n".join(rows).encode()
    path = written(tmp_path, name, gzip.compress(data) if "gz" in name else data)
    pairs = read_pairs(path, source="de", target="en")
    assert (pairs.sources, pairs.targets) == (SOURCES, TARGETS)
    assert pairs.place(2) == f"{path}, line 5"


@pytest.mark.parametrize("stream", [False, True])
def test_sentences_to_translate(tmp_path, stream):
    data = "\ufeff\r\na\x0cb\n\n \nc".encode()
    file = io.BytesIO(data) if stream else written(tmp_path, "a.txt", data)
    assert read_sentences(file) == ["", "a\x0cb", "", " ", "c"]


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "a.txt is empty, expected a sentence a line."),
        (b"\xef\xbb\xbf", "a.txt is empty"),
        (b"ja\nne\0in\n", "a.txt, line 2: there is a NUL byte"),
        (b"ja\n\nsch\xf6n\n", "a.txt, line 3: byte 0xf6 is not UTF-8"),
        ("ja".encode("utf-16"), "a.txt is UTF-16"),
        (b"\x1f\x8bno", "a.txt is a corrupt gzip file"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, data, said):
    path = written(tmp_path, "a.txt", data)
    fine = written(tmp_path, "fine.txt", "yes\nno\n")
    assert said in refusal(tmp_path, read_sentences, path)
    assert said in refusal(tmp_path, read_pairs, path)
    assert said in refusal(tmp_path, read_pairs, path, fine)
    assert said in refusal(tmp_path, read_pairs, fine, path)


def test_streams_that_cannot_be_used(tmp_path):
    for data, said in (
        (b"", "stdin is empty"),
        (b"a\n\xff", "stdin, line 2: byte 0xff"),
    ):
        assert said in refusal(tmp_path, read_sentences, io.BytesIO(data), "stdin")


def test_lines_that_do_not_match(tmp_path):
    a, b = written(tmp_path, "a.de", "ja\n"), written(tmp_path, "a.en", "yes\n\n")
    said = refusal(tmp_path, read_pairs, a, b)
    assert "a.de has 1 line but a.en has 2 lines, expected the same number" in said


@pytest.mark.parametrize(
    ("name", "line", "said"),
    [
        ("a.tsv", "ja", "a.tsv, line 2: found 1 column, expected 2, source and target"),
        ("a.tsv", "a\tb\tc", "line 2: found 3 columns, .*keep two columns"),
        ("a.jsonl", '{"source": "a"}', "line 2: there is no key 'target'"),
        (
            "a.jsonl",
            '{"source": "a", "target": 3}',
            "line 2: 'target' is 3, expected a",
        ),
        ("a.jsonl", '{"source": "a\\nb", "target": ""}', "'source' has a line end"),
        ("a.jsonl", '{"source": "a\\u0000", "target": ""}', "'source' has a NUL"),
        ("a.jsonl", '{"source": "\\ud800", "target": ""}', "half of a character"),
        ("a.jsonl", "[]", "line 2: it is a list"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path, name, line, said):
    fine = "ja\tyes" if name == "a.tsv" else '{"source": "ja", "target": "yes"}'
    path = written(tmp_path, name, f"{fine}\n{line}\n")
    with pytest.raises(DataError, match=said):
        read_pairs(path)


def test_empty_sides_are_left_out_and_counted():
    pairs = Pairs(SOURCES, TARGETS, "a.tsv", range(1, 6))
    kept, note = without_empty(pairs)
    assert kept.sources == (SOURCES[0], SOURCES[2], SOURCES[4])
    assert kept.targets == (TARGETS[0], TARGETS[2], TARGETS[4])
    assert kept.place(2) == "a.tsv, line 5"
    assert (note.count, note.first) == (2, "a.tsv, line 2")
    assert str(note).startswith("2 of 5 pairs are left out of training: one side is em")
    again, note = without_empty(kept)
    assert again is kept
    assert not note
    assert str(note) == ""
    with pytest.raises(DataError, match=r"a\.tsv: every one of 2 pairs has an empty"):
        without_empty(Pairs(("a", " "), ("\u2003", "b"), "a.tsv", (1, 2)))
