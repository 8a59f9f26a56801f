"""Tokens are the same in memory, in a temporary file and in a cache."""

import itertools
import os

import numpy as np
import pytest

from lstm_jax.data import stored, tokenized
from lstm_jax.data.text import DataError
from lstm_jax.data.tokenized import TokenizedText
from lstm_jax.data.tokens import dtype_of, learn, learn_stored
from lstm_jax.data.tokens.borders import at_borders

TEXT = "".join(f"line {n}: é, 最 😀  and\t{n * n}\n\n" for n in range(60)) + "end"
KINDS = ["characters", "bytes", "words", "bpe"]
LIMITS = {"bpe": 280}


@pytest.fixture(params=[1, 5, 64, 2**20])
def chunk(request, monkeypatch):
    """Bytes at a time: characters and words are cut wherever they can be."""
    monkeypatch.setattr("lstm_jax.data.text.CHUNK", request.param)
    monkeypatch.setattr(stored, "CHUNK", request.param)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "text"
    path.write_text(TEXT)
    return path


def tokens_of(text, kind):
    tokenizer = text.learn(kind, limit=LIMITS.get(kind, 0))
    return tokenizer, {p: text.tokens(p, tokenizer) for p in text.characters}


def never(*args, **kwargs):
    raise AssertionError("the text is read again")


@pytest.mark.usefixtures("chunk")
@pytest.mark.parametrize("kind", KINDS)
def test_every_place_has_the_same_tokens(path, tmp_path, kind):
    cache = str(tmp_path / "cache")
    texts = [
        TokenizedText(str(path)),
        TokenizedText(str(path), in_memory=0),
        TokenizedText(str(path), cache=cache),
        TokenizedText(str(path), cache=cache),
    ]
    parts = dict(zip(texts[0].parts, map(str, texts[0].parts.values()), strict=True))
    assert "".join(parts.values()) == TEXT
    seen = "".join(parts.values()) if kind == "characters" else parts["train"]
    expected = learn(kind, seen, limit=LIMITS.get(kind, 0))
    for n, text in enumerate(texts):
        tokenizer, tokens = tokens_of(text, kind)
        assert tokenizer == expected
        assert text.sha256 == texts[0].sha256
        assert text.characters == {p: len(said) for p, said in parts.items()}
        for part, said in parts.items():
            assert tokens[part].in_memory == (n == 0)
            assert tokens[part].data.dtype == dtype_of(tokenizer)
            assert tokens[part].data.tolist() == expected.encode(said).tolist()


@pytest.mark.usefixtures("chunk")
def test_unigram_learns_from_pieces(path):
    text = TokenizedText(str(path), (1, 0, 0)).parts["train"]
    assert learn_stored("unigram", [text], limit=280) == learn(
        "unigram", TEXT, limit=280
    )


@pytest.mark.parametrize(
    "text", ["", " ", "\n\n", "a", "a b", "  a  b\n\nc  ", "é\u3000b c\td", "abc" * 9]
)
def test_borders(text):
    for size in (1, 2, 3, 100):
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        cut = [*at_borders(pieces)]
        assert "".join(cut) == text
        for before, after in itertools.pairwise(cut):
            assert not before[-1].isspace()
            assert after[0] in " \n"


@pytest.mark.parametrize("kind", KINDS)
def test_a_cache_is_used_without_the_text(path, tmp_path, kind, monkeypatch):
    cache = str(tmp_path / "cache")
    first = TokenizedText(str(path), cache=cache)
    tokenizer, tokens = tokens_of(first, kind)
    monkeypatch.setattr(tokenized, "read_corpus", never)
    told: list[str] = []
    second = TokenizedText(str(path), cache=cache, tell=told.append)
    # A run that resumes knows its tokenizer.
    again = second.tokens("train", tokenizer)
    assert again.data.tolist() == tokens["train"].data.tolist()
    assert (second.sha256, second.characters) == (first.sha256, first.characters)
    assert second.learn(kind, limit=LIMITS.get(kind, 0)) == tokenizer
    assert told == [f"the tokens are those of data.cache={cache}"]


@pytest.mark.parametrize("how", ["size", "time", "path", "shares", "tokenizer"])
def test_a_cache_of_something_else_is_not_used(path, tmp_path, how):
    cache, shares = str(tmp_path / "cache"), (0.8, 0.1, 0.1)
    tokenizer, _ = tokens_of(TokenizedText(str(path), shares, cache=cache), "words")
    before = len(os.listdir(cache))
    if how == "size":
        path.write_text(TEXT.replace("end", "an end"))
    elif how == "time":
        path.write_text(TEXT.replace("end", "END"))
    elif how == "path":
        path = path.rename(tmp_path / "other")
    elif how == "shares":
        shares = (0.9, 0.1, 0)
    else:
        tokenizer = learn("words", "other words")
    text = TokenizedText(str(path), shares, cache=cache)
    part = list(text.characters)[-1]
    expected = tokenizer.encode(str(text.parts[part])).tolist()
    assert text.tokens(part, tokenizer).data.tolist() == expected
    assert len(os.listdir(cache)) > before


def test_a_file_that_changes_while_it_is_read(path, tmp_path):
    for cache in ("", str(tmp_path / "cache")):
        text = TokenizedText(str(path), cache=cache)
        text.learn("characters")
        path.write_text(TEXT * 2)
        with pytest.raises(DataError, match="changed while they were read; start"):
            text.characters  # noqa: B018


def test_the_python_reference_is_kept(tmp_path, monkeypatch):
    cache = str(tmp_path / "cache")
    _, tokens = tokens_of(TokenizedText(cache=cache), "bytes")
    monkeypatch.setattr(tokenized, "read_corpus", never)
    _, again = tokens_of(TokenizedText(cache=cache), "bytes")
    assert np.array_equal(tokens["test"].data, again["test"].data)


def test_a_large_text_is_told(path, monkeypatch):
    monkeypatch.setattr(tokenized, "LARGE", 10)
    said = []
    text = TokenizedText(str(path), in_memory=0, tell=said.append)
    tokens_of(text, "words")
    assert said[0] == f"reading 0.0 GB of data.path={path} ..."
    assert said[1:] == [
        f"encoding 0.0 GB of the {part} split ..."
        for part in ("train", "valid", "test")
    ]
    assert 0 < text.seconds < 10
    assert text._parts is None, "its temporary file is gone"


def test_a_split_that_is_not_there(path):
    text = TokenizedText(str(path), (0.9, 0.1, 0))
    with pytest.raises(DataError, match="no split test, only train, valid"):
        text.tokens("test", text.learn("bytes"))


def test_a_cache_among_the_files_of_the_text(tmp_path):
    (tmp_path / "a.txt").write_text(TEXT)
    for cache in (tmp_path, tmp_path / "cache"):
        with pytest.raises(DataError, match="whose files are the text; set it to"):
            TokenizedText(str(tmp_path), cache=str(cache))
