"""A text is the same in memory, in its file and in a temporary one."""

import gzip
import os

import numpy as np
import pytest

from lstm_jax.data import corpus, stored
from lstm_jax.data.stored import Text, check_encoding, read_text, read_texts
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import encode_stored, learn, learn_stored

TEXT = "".join(f"line {n}: é, 最, 😀 and {n * n}\n" for n in range(30))


@pytest.fixture(params=[1, 2, 3, 5, 64, 2**20])
def chunk(request, monkeypatch):
    """Bytes at a time: characters and line ends are cut wherever they can be."""
    monkeypatch.setattr("lstm_jax.data.text.CHUNK", request.param)
    monkeypatch.setattr(stored, "CHUNK", request.param)


FILES = {
    "as it is": TEXT.encode(),
    "line ends": TEXT.replace("\n", "\r\n").encode(),
    "a mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "gzip": gzip.compress(TEXT.encode()),
}


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("data", FILES.values(), ids=FILES)
@pytest.mark.parametrize("in_memory", [0, 2**26])
def test_every_way_to_the_same_text(tmp_path, data, in_memory):
    path = tmp_path / "text"
    path.write_bytes(data)
    text = read_text(path, in_memory=in_memory)
    assert text.in_memory == bool(in_memory)
    assert str(text) == TEXT
    assert (text.characters, text.data.tobytes()) == (len(TEXT), TEXT.encode())
    assert "".join(text.pieces()) == TEXT
    ends = [0, 7, 9, 10, 300, len(TEXT)]
    parts = text.cut(ends)
    begins = [0, *ends[:-1]]
    assert [*map(str, parts)] == [TEXT[a:b] for a, b in zip(begins, ends, strict=True)]
    assert [p.characters for p in parts] == [len(str(p)) for p in parts]
    assert TEXT.endswith(text.last(15))
    assert len(text.last(15).encode()) > 11


def test_a_large_plain_file_is_not_copied(tmp_path, monkeypatch):
    path = tmp_path / "text"
    path.write_text(TEXT)

    def copied():
        raise AssertionError("a copy is made")

    monkeypatch.setattr(stored, "_temporary", copied)
    assert str(read_text(path, in_memory=10)) == TEXT
    path.write_bytes(FILES["line ends"])
    with pytest.raises(AssertionError, match="a copy is made"):
        read_text(path, in_memory=10)


@pytest.mark.parametrize("name", ["latin-1", "cp1252", "utf-16", "utf-16-le", "UTF8"])
@pytest.mark.parametrize("in_memory", [0, 2**26])
def test_encodings(tmp_path, name, in_memory):
    path, said = tmp_path / "text", "déjà vu, élève\r\nà côté\n"
    path.write_bytes(said.encode(name))
    check_encoding(name)
    text = read_text(path, encoding=name, in_memory=in_memory)
    assert str(text) == said.replace("\r\n", "\n")


@pytest.mark.parametrize("name", ["utf-9", "base64", "rot13", "", "a\0b"])
def test_what_is_no_encoding(name):
    with pytest.raises(DataError, match="not an encoding of text that Python knows"):
        check_encoding(name)


@pytest.mark.usefixtures("chunk")
def test_where_a_file_is_wrong(tmp_path):
    path = tmp_path / "text"
    for data, encoding, said in [
        (b"abcdefg\xff", "utf-8", "is not UTF-8 text (byte 7)"),
        (b"abcdef\xe2\x82", "utf-8", "is not UTF-8 text (byte 6)"),
        (b"abcdef\xe2\x82d", "utf-8", "is not UTF-8 text (byte 6)"),
        (b"abc\xff", "ascii", "is not ascii text (byte 3); set data.encoding"),
        (b"abcdef\0", "utf-8", "looks binary (byte 6 is NUL)"),
        (b"a\0b\0c", "utf-16-le", "is not utf-16-le text (byte 4)"),
        (b"a\0\0\0", "utf-16-le", "looks binary (a character is NUL)"),
    ]:
        path.write_bytes(data)
        with pytest.raises(DataError) as caught:
            read_text(path, encoding=encoding)
        assert said in str(caught.value)


def test_a_file_that_changes_meanwhile(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT)
    text = read_text(path, in_memory=0)
    train, _ = text.cut([200, len(TEXT)])
    os.truncate(path, 100)
    for read in (train.check, lambda: str(train), text.check):
        with pytest.raises(DataError, match=r"has 100 bytes now and had"):
            read()


def test_no_room_for_a_copy(tmp_path, monkeypatch):
    path = tmp_path / "text"
    path.write_bytes(FILES["gzip"])
    full = lambda: open("/dev/full", "wb")  # noqa: SIM115
    monkeypatch.setattr(stored, "_temporary", full)
    with pytest.raises(DataError, match=r"No space left on device; set TMPDIR"):
        read_text(path, in_memory=10)


@pytest.mark.parametrize("in_memory", [0, 2**26])
def test_a_folder_of_many_files(tmp_path, in_memory):
    for name, text in {"b.txt": "two", "a.txt": "one\n", "c.gz": "three\n"}.items():
        data = gzip.compress(text.encode()) if name == "c.gz" else text.encode()
        (tmp_path / name).write_bytes(data)
    (tmp_path / ".hidden").write_bytes(b"\0")
    (tmp_path / "folder").mkdir()
    shares = (0.5, 0.3, 0.2)
    parts = corpus.read_corpus(tmp_path, shares, in_memory=in_memory)
    assert "".join(map(str, parts.values())) == "one\ntwo\nthree\n"
    assert list(parts) == ["train", "valid", "test"]
    (tmp_path / "b.txt").write_bytes(b"a\xff")
    with pytest.raises(DataError, match=r"b\.txt in data\.path=.* is not UTF-8"):
        corpus.read_corpus(tmp_path, shares)


def test_a_folder_of_folders(tmp_path):
    for part in ("train", "valid"):
        (tmp_path / part).mkdir()
        for n in range(3):
            (tmp_path / part / f"{n}.txt").write_text(f"{part} {n}")
    (tmp_path / "README").write_text("anything")
    parts = corpus.read_corpus(tmp_path)
    assert str(parts["train"]) == "train 0\ntrain 1\ntrain 2"
    assert str(parts["valid"]) == "valid 0\nvalid 1\nvalid 2"
    (tmp_path / "test").mkdir()
    with pytest.raises(DataError, match="the folder test has no files"):
        corpus.read_corpus(tmp_path)
    (tmp_path / "train2").mkdir()
    with pytest.raises(DataError, match="train: train, train2; valid: valid"):
        corpus.read_corpus(tmp_path)


def test_texts_of_several_files_name_the_one_that_is_wrong(tmp_path):
    paths = [tmp_path / name for name in "ab"]
    paths[0].write_text("fine")
    paths[1].write_text("")
    with pytest.raises(DataError, match="second is empty"):
        read_texts(paths, ["first", "second"])


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("kind", ["characters", "bytes", "words"])
def test_tokens_of_stored_texts_are_those_of_strings(kind):
    halves = [Text.of(TEXT[:200]), Text.of(TEXT[200:])]
    tokenizer = learn_stored(kind, halves)
    assert tokenizer == learn(kind, TEXT)
    tokens = encode_stored(tokenizer, Text.of(TEXT))
    assert tokens.dtype == np.uint8
    assert tokens.tolist() == tokenizer.encode(TEXT).tolist()


def test_tokens_are_as_small_as_the_vocabulary_allows():
    words = " ".join(f"w{n}" for n in range(300))
    tokenizer = learn("words", words)
    assert encode_stored(tokenizer, Text.of(words)).dtype == np.uint16
    data = Text.of(TEXT)
    assert encode_stored(learn("bytes", "any"), data) is data.data
