"""Sentences as tokens: restored, alike alone and among others, learned from pairs."""

import functools
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lstm_jax.data.parallel import (
    KINDS,
    Pairs,
    SentenceTokens,
    encode_pairs,
    learn_pair,
    without_long,
)
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import learn, restore

SOURCES = ("Der Hund schläft.", "Der  Hund läuft ", " Hunde 🎉", "die Katze schläft")
TARGETS = ("The dog sleeps.", "the dog  runs", "dogs", "The cat sleeps.")
PAIRS = Pairs(SOURCES * 3, TARGETS * 3, "a.tsv", range(1, 13))
SENTENCES = st.lists(
    st.one_of(
        st.sampled_from(
            [" ", "  ", "\t", "▁", "Ġ", "Hund", "🎉", "👩\u200d👩", "<unk>"]
        ),
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n")),
    )
).map("".join)
kinds = pytest.mark.parametrize("kind", KINDS)
lossless = pytest.mark.parametrize("kind", [k for k in KINDS if k != "words"])


@functools.cache
def tokens_of(kind, side=0, **options):
    return SentenceTokens(learn_pair(kind, PAIRS, **options)[side])


@lossless
@given(sentence=SENTENCES)
@settings(max_examples=100)
def test_a_sentence_is_restored(kind, sentence):
    tokens = tokens_of(kind)
    encoded = tokens.encode(sentence)
    assert encoded.dtype == np.int32
    assert encoded[-1] == tokens.end
    assert (encoded[:-1] < tokens.begin).all()
    assert tokens.decode(encoded) == sentence
    assert tokens.decode([tokens.begin, *encoded, 0, 1]) == sentence
    assert tokens.decode(encoded[:-1]) == sentence


@kinds
def test_sentences_alone_and_together(kind):
    """Also those that are longer than the pieces that a long text is encoded in."""
    tokens = tokens_of(kind)
    sentences = ["", *SOURCES, "Der Hund 🎉 läuft und " * 500]
    for one, sentence in zip(tokens.encode_all(sentences), sentences, strict=True):
        np.testing.assert_array_equal(one, tokens.encode(sentence))
        np.testing.assert_array_equal(
            one[:-1],
            tokens.tokenizer.encode(
                (" " if sentence and kind in ("bpe", "unigram") else "") + sentence
            ),
        )
    assert tokens.encode("").tolist() == [tokens.end]


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_a_word_has_the_same_tokens_everywhere(kind):
    tokens = tokens_of(kind, limit=400)
    hund, der = tokens.encode("Hund")[:-1].tolist(), tokens.encode("Der")[:-1].tolist()
    both = tokens.encode("Der Hund")
    assert both.tolist() == [*der, *hund, tokens.end]
    assert len(hund) < 4
    vocabulary = json.loads(tokens.tokenizer.json)["model"]["vocab"]
    words = [*vocabulary] if kind == "bpe" else [piece for piece, _ in vocabulary]
    assert any("Hund" in word for word in words)
    assert not any("Ġ" in word.lstrip("Ġ") for word in words)


@kinds
def test_one_vocabulary_or_two(kind):
    source, target = learn_pair(kind, PAIRS, limit=300)
    both, again = learn_pair(kind, PAIRS, shared=True, limit=300)
    assert both == again
    assert restore(json.loads(json.dumps(both.facts()))) == both
    if kind == "words":
        assert "dog" not in source.words
        assert "Hund" not in target.words
        assert {"dog", "Hund"} <= {*both.words}
    if kind in ("bpe", "unigram"):
        assert len({source, target, both}) == 3


def test_numbers_beyond_the_tokenizer():
    tokens = tokens_of("bytes")
    assert (tokens.begin, tokens.end, tokens.size) == (256, 257, 258)
    with pytest.raises(DataError, match="token 258 is none of this vocabulary"):
        tokens.decode([258])
    assert tokens.decode([*b"a\nb"]) == "a b"
    assert tokens.encode("a\nb").tolist() == [*b"a b", 257]


def test_unknown_words():
    tokens = tokens_of("words", side=1)
    assert tokens.decode(tokens.encode("the zebra runs")) == "the <unk> runs"
    assert tokens.tokenizer.unknown("the zebra runs") == ["zebra"]


def test_kinds_that_cannot_translate():
    with pytest.raises(DataError, match=r"words, bytes \(bytes take every"):
        learn_pair("characters", PAIRS)
    with pytest.raises(DataError, match="tokens='bp' cannot translate"):
        learn_pair("bp", PAIRS)


def test_unigram_is_learned_alike_every_time():
    """The library itself has other last digits and another order each time."""
    text = "".join(f" {sentence}\n" for sentence in SOURCES * 20)
    one, *others = (learn("unigram", text, limit=300) for _ in range(4))
    assert all(other == one for other in others)
    assert 256 < len(one) <= 300
    assert len(learn("unigram", "ab" * 3000, limit=256)) == 256


def test_long_pairs_are_left_out_and_counted():
    tokens = SentenceTokens(learn("bytes", "any"))
    pairs = Pairs(("abc", "a", "a", "ab"), ("a", "abcd", "abc", "b"), "x", range(1, 5))
    encoded = encode_pairs(pairs, tokens, tokens)
    kept, note = without_long(encoded, 4)
    assert kept.pairs.targets == ("a", "abc", "b")
    assert kept.lengths.tolist() == [[4, 2], [2, 4], [3, 2]]
    assert (note.count, note.total, note.first) == (1, 4, "x, line 2")
    assert "more than max_length=4 tokens" in str(note)
    kept, note = without_long(encoded, 5)
    assert len(kept) == 4
    assert not note
    with pytest.raises(DataError, match="all 4 pairs have more than max_length=2"):
        without_long(encoded, 2)


def test_half_a_character_is_named_by_its_line():
    tokens = SentenceTokens(learn("bytes", "any"))
    pairs = Pairs(("a", "b"), ("c", "\ud800"), "x", (1, 7))
    with pytest.raises(DataError, match=r"x, line 7: .* half of a character"):
        encode_pairs(pairs, tokens, tokens)
