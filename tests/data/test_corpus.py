"""Where a text comes from, how it is parted, and what is said of one that is wrong."""

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lstm_jax.data import corpus
from lstm_jax.data.corpus import sha256
from lstm_jax.data.stored import Text
from lstm_jax.data.text import DataError, python_reference

TEXT = "".join(f"line {n}: é, 最 and {n * n}\n" for n in range(30))


def written(folder, **contents):
    """A folder of files; ``_`` in a name is a dot."""
    folder.mkdir()
    for name, content in contents.items():
        data = content if isinstance(content, bytes) else content.encode()
        (folder / name.replace("_", ".")).write_bytes(data)
    return folder


def read_corpus(*args, **options):
    """The parts as strings."""
    parts = corpus.read_corpus(*args, **options)
    assert all(len(str(text)) == text.characters for text in parts.values())
    return {part: str(text) for part, text in parts.items()}


def refusal(path, shares=(0.9, 0.05, 0.05)):
    with pytest.raises(DataError) as caught:
        read_corpus(path, shares)
    said = str(caught.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def test_the_reference_of_python():
    parts = read_corpus()
    assert "".join(parts.values()) == python_reference()


@given(
    st.text(min_size=100, max_size=300).filter(lambda text: "\x00" not in text),
    st.sampled_from([(0.9, 0.05, 0.05), (0.7, 0.2, 0.1), (0.9, 0.1, 0), (0.5, 0, 0.5)]),
)
def test_a_file_is_cut_by_shares(tmp_path_factory, text, shares):
    text = "a" + text.replace("\r\n", "\n")
    path = tmp_path_factory.mktemp("corpus") / "text"
    path.write_bytes(text.replace("\n", "\r\n").encode())
    parts = read_corpus(path, shares)
    names = ("train", "valid", "test")
    assert list(parts) == [n for n, share in zip(names, shares, strict=True) if share]
    assert "".join(parts.values()) == text.replace("\r\n", "\n")
    for part, share in zip(names, shares, strict=True):
        assert abs(len(parts.get(part, "")) - share * len(text)) <= 1


@pytest.mark.parametrize("name", ["text.txt", "text.gz", "text"])
def test_what_is_in_a_file_counts_not_its_name(tmp_path, name):
    (tmp_path / name).write_bytes(gzip.compress(TEXT.encode()))
    assert "".join(read_corpus(tmp_path / name).values()) == TEXT
    (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + TEXT.encode())
    assert "".join(read_corpus(tmp_path / name).values()) == TEXT


def test_a_folder_has_a_file_for_each_part(tmp_path):
    files = {"ptb_train_txt": "ab\r\ncd", "ptb_valid_txt": "ef", "README": "any"}
    folder = written(tmp_path / "ptb", **files, _train_swp=b"\0")
    (folder / "train").mkdir()
    assert read_corpus(folder) == {"train": "ab\ncd", "valid": "ef"}
    (folder / "Test.gz").write_bytes(gzip.compress(b"gh"))
    parts = {"train": "ab\ncd", "valid": "ef", "test": "gh"}
    assert read_corpus(str(folder), ()) == parts
    assert list(read_corpus(folder)) == list(parts)


def test_val_is_valid_where_nothing_else_is(tmp_path):
    folder = written(tmp_path / "wiki", train="ab", val="cd")
    assert read_corpus(folder)["valid"] == "cd"
    (folder / "validation").write_text("ef")
    assert read_corpus(folder)["valid"] == "ef"


@pytest.mark.parametrize(
    ("files", "found"),
    [
        ([], "train: none; valid: none; test: none; files there: none"),
        (["train"], "train: train; valid: none; test: none; files there: train"),
        (["valid", "a_txt"], "train: none; valid: valid; test: none; files there: a."),
        (["train_txt", "train_gz", "valid"], "train: train.gz, train.txt; valid: val"),
        (["train", "valid", "test_1", "test_2"], "test: test.1, test.2; files"),
        (["train", "valid_1", "valid_2"], "valid: valid.1, valid.2; test: none"),
        (["train", "latest_valid"], "valid: latest.valid; test: latest.valid"),
        (["train", *(f"f_{n:02}" for n in range(12))], "f.08, f.09 and 3 more."),
    ],
)
def test_a_folder_that_leaves_a_choice(tmp_path, files, found):
    folder = written(tmp_path / "corpus", **dict.fromkeys(files, "text"))
    said = refusal(folder)
    assert f"data.path={folder} " in said
    assert found in said


DAMAGED = gzip.compress(TEXT.encode())
WRONG = {
    "empty": (b"", "is empty"),
    "empty in gzip": (gzip.compress(b""), "is empty"),
    "a mark alone": (b"\xef\xbb\xbf", "is empty"),
    "one character": ("é".encode(), "has a single character, 'é'"),
    "one line end": (b"\r\n", r"has a single character, '\n'"),
    "binary": (b"\x89PNG\0abc", "looks binary (byte 4 is NUL)"),
    "binary in gzip": (gzip.compress(b"abc\0"), "looks binary (byte 3 is NUL)"),
    "Latin-1": ("déjà vu".encode("latin-1"), "is not UTF-8 text (byte 1)"),
    "cut off": (DAMAGED[:-20], "is a corrupt gzip file"),
    "a byte is wrong": (DAMAGED[:20] + b"\xff" + DAMAGED[21:], "is a corrupt gzip"),
    "a wrong sum": (DAMAGED[:-8] + b"abcdefgh", "is a corrupt gzip file (CRC"),
    "more behind it": (DAMAGED + b"more", "is a corrupt gzip file"),
    "its beginning": (DAMAGED[:2], "is a corrupt gzip file"),
}


@pytest.mark.parametrize(("data", "said"), WRONG.values(), ids=WRONG)
def test_a_file_that_is_wrong(tmp_path, data, said):
    path = tmp_path / "text.txt"
    path.write_bytes(data)
    assert f"data.path={path} {said}" in refusal(path)
    folder = written(tmp_path / "folder", train=TEXT, valid=data)
    assert f"valid in data.path={folder} {said}" in refusal(folder)


def test_a_path_that_is_wrong(tmp_path):
    for path in (tmp_path / "no", "a\0b", "x" * 5000):
        assert f"data.path={path} cannot be read" in refusal(path)
    (tmp_path / "short").write_text("abcdefghij")
    for shares in [(0.9, 0.05, 0.05), (0.8, 0.1, 0.1)]:
        assert "10 characters, too few" in refusal(tmp_path / "short", shares)
    assert len(read_corpus(tmp_path / "short", (0.8, 0.2, 0))) == 2


@pytest.mark.parametrize(
    ("shares", "said"),
    [
        ((0.9, 0.1), "2 numbers that add up to 1"),
        ((0.5, 0.3, 0.1), "3 numbers that add up to 0.9"),
        ((0.5, 0.5, float("nan")), "add up to nan"),
        ((1.2, -0.2, 0.0), "-0.2 as a share"),
        ((0.0, 0.5, 0.5), "0 as a share"),
    ],
)
def test_shares_that_are_wrong(shares, said):
    message = refusal("", shares)
    assert "shares=" in message
    assert said in message


def test_the_sum_is_of_all_there_is():
    parts = {"train": "abc", "valid": "de"}
    others = [
        {"train": "abc", "valid": "df"},
        {"train": "ab", "valid": "cde"},
        {"train": "abc", "test": "de"},
        {"train": "abc", "valid": "de", "test": ""},
        {"train": "abcvalidde"},
    ]
    of = lambda parts: sha256({name: Text.of(text) for name, text in parts.items()})
    assert of(parts) == of(dict(parts))
    assert len({of(p) for p in [parts, *others]}) == 6
