"""Sentences and their translations, to train a translation model.

    read_pairs        two aligned files, a TSV or JSONL, as `Pairs`
    without_empty     the pairs to train on, and a note of those left out
    learn_pair        a tokenizer for each side, or one for both
    SentenceTokens    a sentence as tokens with an end, and back
    encode_pairs      both sides of every pair as tokens
    without_long      the pairs that are not too long, and a note of the others
    read_sentences    the sentences of a file or a stream, to translate

`choose_shapes` and `pair_batches` put pairs of similar length into batches of a few
static shapes.
"""

from lstm_jax.data.parallel.encode import EncodedPairs, encode_pairs, without_long
from lstm_jax.data.parallel.pairs import LeftOut, Pairs, without_empty
from lstm_jax.data.parallel.reading import read_pairs, read_sentences
from lstm_jax.data.parallel.shapes import PairShapes, choose_shapes, pair_batches
from lstm_jax.data.parallel.tokens import KINDS, SentenceTokens, learn_pair

__all__ = [
    "KINDS",
    "EncodedPairs",
    "LeftOut",
    "PairShapes",
    "Pairs",
    "SentenceTokens",
    "choose_shapes",
    "encode_pairs",
    "learn_pair",
    "pair_batches",
    "read_pairs",
    "read_sentences",
    "without_empty",
    "without_long",
]
