"""Files of the library ``tokenizers`` against our tokens and texts."""

import random

import pytest
from tokenizers import Tokenizer

from lstm_jax.data.parallel import SentenceTokens
from lstm_jax.data.parallel.portable import portable
from lstm_jax.data.text import DataError
from lstm_jax.data.tokens import learn

TEXT = "der Hund läuft , der  alte Hund schläft . né <eos> it's 42 \u3000 x\n" * 5
SENTENCES = [
    "",
    " ",
    " der  Hund ",
    "a<eos> <eos> b <eos>",
    "né\x1cx\u3000y\x85z\u2028w",
    "\n a\nb",
    "🙂 läuft<unk> <unk>",
]


@pytest.mark.parametrize("kind", ["bpe", "unigram", "words", "bytes"])
def test_the_library_gives_our_tokens_and_texts(kind):
    limit = 290 if kind in ("bpe", "unigram") else 0
    tokens = SentenceTokens(learn(kind, TEXT, limit=limit))
    library, rng = Tokenizer.from_str(portable(tokens)), random.Random(0)
    assert library.get_vocab_size() == tokens.size - 2
    drawn = ["".join(rng.choices("ab dü \t\x1c\n,é🙂", k=12)) for _ in range(50)]
    for sentence in SENTENCES + drawn:
        assert library.encode(sentence).ids == tokens.encode(sentence)[:-1].tolist()
    usual = tokens.encode(" <eos> \n né der\n")[:-1].tolist()
    for _ in range(300):
        ids = rng.choices([*usual, *range(tokens.size - 2)], k=rng.randrange(8))
        assert library.decode(ids) == tokens.decode(ids), ids


def test_characters_are_refused():
    with pytest.raises(DataError, match="characters cannot be written"):
        portable(SentenceTokens(learn("characters", "abc")))
