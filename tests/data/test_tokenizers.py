"""Every tokenizer restores its text and itself; words and bpe follow plain loops."""

import collections
import itertools
import json
import re
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import TOKENIZERS, Words, learn, restore, sub_words

TEXT = "the low lower lowest\nlow   und größer, 最低\n\nthe new newer newest\n" * 3
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
WORDY = st.text(st.sampled_from("aab \n\t\r"), max_size=60).map(
    lambda text: text.replace("bb", " <unk> ").replace("ba", " <eos> ")
)
names = pytest.mark.parametrize("name", TOKENIZERS)


@pytest.mark.parametrize("name", [n for n, kind in TOKENIZERS.items() if kind.lossless])
@given(text=TEXTS)
@settings(max_examples=50)
def test_a_lossless_one_restores_any_text(name, text):
    tokenizer = learn(name, text)
    tokens = tokenizer.encode(text)
    assert tokens.dtype == np.int32
    assert tokens.min() >= 0
    assert tokens.max() < len(tokenizer)
    assert tokenizer.decode(tokens) == text


@names
def test_facts_restore_it_through_json(name):
    tokenizer = learn(name, TEXT)
    again = restore(json.loads(json.dumps(tokenizer.facts())))
    assert again == tokenizer
    assert (again.encode(TEXT) == tokenizer.encode(TEXT)).all()
    assert again.facts() == tokenizer.facts()


@names
def test_nothing_is_no_tokens(name):
    tokenizer = learn(name, TEXT)
    assert tokenizer.encode("").shape == (0,)
    assert tokenizer.encode("").dtype == np.int32
    assert tokenizer.decode([]) == ""


@names
@pytest.mark.parametrize("wrong", [-1, None])
def test_tokens_of_another_vocabulary(name, wrong):
    tokenizer = learn(name, TEXT)
    wrong = len(tokenizer) if wrong is None else wrong
    with pytest.raises(DataError, match=f"token {wrong} is none .* 0 to "):
        tokenizer.decode([0, wrong])
    with pytest.raises(DataError, match="float64, expected integers"):
        tokenizer.decode(np.ones(2))
    with pytest.raises(DataError, match=r"shape \(1, 2\)"):
        tokenizer.decode(np.ones((1, 2), int))


def test_half_a_character():
    for name in ("characters", "bytes", "bpe"):
        with pytest.raises(DataError, match=r"'\\udcff'"):
            learn(name, TEXT).encode("the \udcff")
    words = learn("words", TEXT)
    assert words.decode(words.encode("the \udcff")) == "the <unk>"
    with pytest.raises(DataError, match="not a whole character"):
        learn("bpe", "the \udcff")


# characters


def test_unknown_characters_are_named():
    tokenizer = learn("characters", "abc")
    with pytest.raises(DataError, match="does not have 'xyz'; leave"):
        tokenizer.encode("azyxc")
    many = "".join(map(chr, range(200, 225)))
    with pytest.raises(DataError, match=f"have '{many[:20]}' and 5 more; leave"):
        tokenizer.encode(many)


# words


def plain_words(text):
    *lines, rest = text.split("\n")
    ended = [word for line in lines for word in [*line.split(), "<eos>"]]
    return ended + rest.split()


@given(text=WORDY, limit=st.sampled_from([0, 3, 4, 6]), min_count=st.integers(1, 3))
@settings(max_examples=200)
def test_words_by_a_plain_loop(text, limit, min_count):
    tokenizer = Words.learn(text, limit=limit, min_count=min_count)
    said = plain_words(text)
    counts = collections.Counter(said)
    ranked = sorted(
        (-n, word)
        for word, n in counts.items()
        if n >= min_count and word not in ("<eos>", "<unk>")
    )
    kept = [word for _, word in ranked][: limit - 2 if limit else None]
    known = {"<eos>", *kept}
    said = [word if word in known else "<unk>" for word in said]
    counts = collections.Counter(said)
    ranked = sorted({*known, "<unk>"}, key=lambda word: (-counts[word], word))
    assert tokenizer.words == tuple(ranked)
    assert [tokenizer.words[t] for t in tokenizer.encode(text)] == said


@given(st.lists(st.integers(0, 4)))
@settings(max_examples=100)
def test_tokens_of_words_are_restored(tokens):
    tokenizer = Words(("a", "<eos>", "b", "<unk>", "c"))
    text = tokenizer.decode(tokens)
    assert tokenizer.encode(text).tolist() == tokens
    assert not re.search(" \n|\n |  ", text)


def test_words_of_a_text_with_unknown_ones():
    """The Penn Treebank has ``<unk>`` among its words, and a space around each line."""
    text = " no it was n't <unk> monday \n but <unk> n't \n"
    tokenizer = learn("words", text)
    assert sorted(tokenizer.words) == sorted({*text.split(), "<eos>"})
    assert tokenizer.encode(text).shape == (11,)
    assert tokenizer.encode("tuesday") == tokenizer.words.index("<unk>")


# bpe


def plain_bpe(text, limit):
    """Merges by counting all pairs anew (Sennrich et al. 2016, algorithm 1), on texts
    of letters and single spaces; of pairs as frequent the one of older tokens is
    first."""
    words = collections.Counter(re.findall(r" ?\w+", text))
    words = {tuple(w.replace(" ", "Ġ")): n for w, n in words.items()}
    # Bytes are numbered as the library shows them, printable ones as themselves.
    order = {c: ord(c) for c in "".join("".join(w) for w in words)}
    merges = []
    while 256 + len(merges) < limit:
        pairs = collections.Counter()
        for word, n in words.items():
            for pair in itertools.pairwise(word):
                pairs[pair] += n
        if not pairs:
            break
        most = max(pairs.values())
        often = [pair for pair, n in pairs.items() if n == most]
        best = min(often, key=lambda pair: (order[pair[0]], order[pair[1]]))
        merges.append(best)
        order["".join(best)] = 10_000 + len(merges)
        words = {merge(word, best): n for word, n in words.items()}
    return merges


def merge(word, pair):
    merged = []
    for token in word:
        if merged and (merged[-1], token) == pair:
            merged[-1] += token
        else:
            merged.append(token)
    return tuple(merged)


@pytest.mark.parametrize("limit", [256, 257, 270, 1000])
def test_bpe_by_a_plain_loop(limit):
    text = "the low lower lowest saw the new newer newest banana " * 4 + "an ant"
    tokenizer = learn("bpe", text, limit=limit)
    merges = [tuple(pair) for pair in json.loads(tokenizer.json)["model"]["merges"]]
    assert merges == plain_bpe(text, limit)
    assert len(tokenizer) == 256 + len(merges)


def test_bpe_without_a_limit_and_with_rare_pairs():
    numbers = " ".join(str(n * n) for n in range(20_000))
    assert len(learn("bpe", numbers)) == 4096
    rare = learn("bpe", "aa ab ab", limit=300, min_count=2)
    assert len(rare) == 256 + 2


@given(st.lists(st.sampled_from([*"ab \n\t'é最\u00a0\u2003\x1c", "   ", "\n\n  "])))
@settings(max_examples=100)
def test_bpe_in_pieces_and_batches_has_the_tokens_of_the_whole(runs):
    text = "".join(runs) + "  a\nab"
    tokenizer = learn("bpe", "abab abé a\n\n  b    最最\t\tb ''b" * 3)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sub_words, "PIECE", 3)
        patch.setattr(sub_words, "BATCH", 2)
        tokens = tokenizer.encode(text).tolist()
    assert tokens == tokenizer._library.encode(text).ids


def test_bpe_without_its_library(monkeypatch):
    facts = learn("bpe", TEXT).facts()
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    for call in (lambda: learn("bpe", TEXT), lambda: restore(facts)):
        with pytest.raises(DataError, match=r"pip install 'lstm-jax\[bpe\]'"):
            call()


# errors


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("word", {}, "no tokenizer 'word', expected one of characters, bytes, words"),
        ("words", {"text": ""}, "the text is empty"),
        ("words", {"limit": -1}, "limit is -1, expected 0 or more"),
        ("words", {"min_count": 0}, "min_count is 0, expected 1 or more"),
        ("words", {"limit": 2}, "limit=2 leaves no room"),
        ("characters", {"limit": 2}, "limit=2 is less than the 3 distinct"),
        ("characters", {"min_count": 2}, "min_count=2 does nothing with characters"),
        ("bytes", {"limit": 255}, "less than the 256 bytes there are"),
        ("bytes", {"min_count": 2}, "min_count=2 does nothing with bytes"),
        ("bpe", {"limit": 255}, "less than the 256 bytes that every"),
    ],
)
def test_what_cannot_be_learned(name, options, said):
    with pytest.raises(ValueError, match=said):
        learn(name, **{"text": "abca", **options})


def test_limits_that_are_just_enough():
    assert len(learn("characters", "abca", limit=3)) == 3
    assert len(learn("bytes", "abca", limit=256)) == 256
    assert len(learn("bpe", "abca", limit=256)) == 256
    assert len(learn("words", "b a a", limit=3)) == 3


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, "no tokenizer None"),
        ({"name": []}, "no tokenizer"),
        ({"name": "bytes", "more": 1}, "not what it says of itself"),
        ({"name": "words", "words": 3}, "not what it says of itself"),
        ({"name": "words", "words": ["a", "a", "<eos>", "<unk>"]}, "not distinct"),
        ({"name": "words", "words": ["a", "<eos>"]}, "without <eos> or <unk>"),
        ({"name": "words", "words": ["a b", "<eos>", "<unk>"]}, "without white space"),
        ({"name": "words", "words": [1, "<eos>", "<unk>"]}, "not all strings"),
        ({"name": "characters", "characters": "ba"}, "code point order"),
        ({"name": "characters", "characters": "aab"}, "each once"),
        ({"name": "characters", "characters": [1]}, "not what it says of itself"),
        ({"name": "characters", "characters": ["a"]}, "not in code point order"),
        ({"name": "characters", "characters": ""}, "characters='' are none"),
        ({"name": "bpe", "json": "{"}, "JSON of this bpe cannot be read"),
        ({"name": "bpe", "json": None}, "JSON of this bpe cannot be read"),
    ],
)
def test_facts_that_are_damaged(facts, said):
    with pytest.raises(DataError, match=said):
        restore(facts)
