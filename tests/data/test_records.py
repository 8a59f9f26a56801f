"""A text is the same from every kind of file, and what is wrong names the file."""

import sys

import pyarrow as arrow
import pytest
from pyarrow import parquet

from lstm_jax.data import records, stored
from lstm_jax.data.corpus import read_corpus, sha256
from lstm_jax.data.stored import read_text, read_texts
from lstm_jax.data.text import DataError
from tests.data.forms import FORMS, RECORDS, write_parquet, write_records, zst

LINES = [f"line {n}: é, 最, 😀 and {n * n}" for n in range(300)]
TEXT = "".join(line + "\n" for line in LINES)
needs_records = pytest.mark.skipif(not RECORDS, reason="needs array_record")
EVERY = [
    pytest.param(form, marks=needs_records if form == "array_record" else ())
    for form in FORMS
]


@pytest.fixture(params=[1, 3, 64, 2**20])
def chunk(request, monkeypatch):
    """Bytes at a time: characters and line ends are cut wherever they can be."""
    monkeypatch.setattr("lstm_jax.data.text.CHUNK", request.param)
    monkeypatch.setattr(stored, "CHUNK", request.param)
    monkeypatch.setattr(records, "ROWS", min(request.param, 64))


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("in_memory", [0, 2**26])
@pytest.mark.parametrize("form", EVERY)
def test_every_form_is_the_same_text(tmp_path, form, in_memory):
    (tmp_path / "whole").mkdir()
    (tmp_path / "whole" / "text").write_text(TEXT)
    (tmp_path / "files").mkdir()
    for n, (a, b) in enumerate([(0, 1), (1, 130), (130, 300)]):
        FORMS[form](tmp_path / "files" / f"{n}", LINES[a:b])
    # A row or line without a line end at the end of a file gets one.
    whole = read_corpus(tmp_path / "whole", in_memory=in_memory)
    parts = read_corpus(tmp_path / "files", in_memory=in_memory)
    text = "".join(map(str, parts.values()))
    assert text + "\n" * (not text.endswith("\n")) == TEXT
    if form in ("txt", "gz", "zst"):
        assert sha256(parts) == sha256(whole)
        assert parts["train"].in_memory == bool(in_memory)


@pytest.mark.parametrize(
    "of",
    [
        arrow.string(),
        arrow.large_string(),
        arrow.string_view(),
        arrow.dictionary(arrow.int32(), arrow.string()),
    ],
    ids=str,
)
def test_rows_of_every_type_of_text(tmp_path, of):
    rows = ["a é", None, "", "b\n", "a é", "c\r\nd\n", "e"]
    write_parquet(tmp_path / "rows", rows, of)
    assert str(read_text(tmp_path / "rows")) == "a é\n\nb\na é\nc\nd\ne"


@needs_records
def test_records_may_be_documents(tmp_path):
    write_records(tmp_path / "a", ["one\ntwo\n", "three", "four\n"])
    assert str(read_text(tmp_path / "a")) == "one\ntwo\nthree\nfour\n"


def test_another_column(tmp_path):
    path = tmp_path / "a.parquet"
    columns = {"body": ["a", "b"], "text": ["c", "d"], "n": [1, 2]}
    parquet.write_table(arrow.table(columns), path)
    assert str(read_text(path, column="body")) == "a\nb"
    assert str(read_text(path)) == "c\nd"
    for column, said in {
        "words": "has no column 'words', only body, text, n; set data.column",
        "n": "the column 'n' holds int64, expected text (string); set data.column",
    }.items():
        with pytest.raises(DataError) as caught:
            read_text(path, column=column)
        assert said in str(caught.value)
        assert "a.parquet" in str(caught.value)


def refusal(path, *args):
    with pytest.raises(DataError) as caught:
        read_text(path, "a.file", *args)
    said = str(caught.value)
    assert "a.file" in said
    assert "\n" not in said
    assert said.endswith(".")
    return said


@pytest.mark.parametrize("cut", [5, 40, -20, -1])
def test_truncated_zstd(tmp_path, cut):
    path = tmp_path / "a"
    path.write_bytes(zst(TEXT.encode())[:cut])
    said = refusal(path)
    assert said.startswith("a.file is a corrupt zstd file (Truncated compressed")


def test_corrupt_zstd(tmp_path):
    data = zst(TEXT.encode())
    for wrong in (data + b"more", data[:4] + b"\xff" * 9 + data[13:]):
        (tmp_path / "a").write_bytes(wrong)
        assert "is a corrupt zstd file" in refusal(tmp_path / "a")
    (tmp_path / "a").write_bytes(data + data)
    assert str(read_text(tmp_path / "a")) == TEXT * 2


def test_zstd_that_unpacks_to_too_much(tmp_path, monkeypatch):
    monkeypatch.setattr("lstm_jax.data.text.GZIP_BYTES", 2**20)
    (tmp_path / "a").write_bytes(zst(b"a" * 2**24))
    assert "bytes of zstd that unpack to more than" in refusal(tmp_path / "a")


def test_corrupt_parquet(tmp_path):
    path = tmp_path / "a"
    write_parquet(path, LINES, write_page_checksum=True)
    data = path.read_bytes()
    middle = len(data) // 3
    for wrong in (
        data[:4],
        data[:middle],
        data[:-1],
        data[:middle] + b"\xff" + data[middle + 1 :],
        data[:-30] + b"\xff" * 22 + data[-8:],
    ):
        path.write_bytes(wrong)
        assert "is a corrupt Parquet file (" in refusal(path)


def test_parquet_that_is_not_utf_8(tmp_path):
    rows = arrow.array([b"fine", b"\xff\xfe"]).view(arrow.string())
    parquet.write_table(arrow.table({"text": rows}), tmp_path / "a")
    assert "is not UTF-8 text (byte 5)" in refusal(tmp_path / "a")


def test_parquet_without_text(tmp_path):
    for rows in ([], [None, None]):
        write_parquet(tmp_path / "a", rows, arrow.string())
        assert "is empty, expected text" in refusal(tmp_path / "a")


@needs_records
def test_corrupt_records(tmp_path):
    path = tmp_path / "a"
    write_records(path, LINES)
    data = path.read_bytes()
    for wrong in (data[:9], data[: len(data) // 2], data[:-10]):
        path.write_bytes(wrong)
        assert "array_record file" in refusal(path)
    write_records(path, [line.encode("utf-16") for line in LINES])
    assert "binary" in refusal(path)
    write_records(path, [])
    assert "is empty or truncated" in refusal(path)


def test_kinds_that_do_not_go_together(tmp_path):
    paths = [tmp_path / name for name in ("a.parquet", "README")]
    write_parquet(paths[0], LINES)
    paths[1].write_text("anything")
    with pytest.raises(DataError) as caught:
        read_texts(paths, [path.name for path in paths])
    said = "a.parquet is Parquet and README is text, expected files of one kind"
    assert said in str(caught.value)
    assert "is for Parquet files, and a.file is text" in refusal(
        paths[1], "utf-8", "body"
    )
    assert "data.encoding=iso8859-1 is for text files" in refusal(paths[0], "latin-1")


@pytest.mark.parametrize(
    ("form", "package"), [("zst", "pyarrow"), ("parquet", "pyarrow")]
)
def test_a_package_that_is_missing(tmp_path, monkeypatch, form, package):
    FORMS[form](tmp_path / "a", LINES)
    monkeypatch.setitem(sys.modules, package, None)
    assert "pip install 'lstm-jax[data]'" in refusal(tmp_path / "a")


def test_array_record_that_is_missing(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(bytes.fromhex("83af70d10d884a3f"))
    module = "array_record.python.array_record_module"
    monkeypatch.setitem(sys.modules, module, None)
    assert "pip install 'lstm-jax[array-record]'" in refusal(tmp_path / "a")
