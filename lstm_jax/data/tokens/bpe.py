"""A token is a run of bytes that often stand together."""

import dataclasses
from collections.abc import Iterable
from typing import ClassVar, Self

from lstm_jax.data.tokens.sub_words import (
    SubWords,
    by_bytes,
    check_limit,
    cut,
    library,
)


@dataclasses.dataclass(frozen=True)
class BPE(SubWords):
    """Byte-pair encoding of bytes (Sennrich, Haddow & Birch 2016, on bytes as in
    Radford et al. 2019), by the library ``tokenizers``: beginning with the 256 bytes,
    the pair of tokens that is most frequent within words becomes one, until there are
    ``limit`` (0: 4096), or no pair occurs ``min_count`` times. Every text can be
    encoded and is restored to the byte.

    >>> tokenizer = BPE.learn("low lower lowest", limit=258)
    >>> len(tokenizer), tokenizer.decode(tokenizer.encode("slow né")[1:])
    (258, 'low né')
    >>> tokenizer.encode("lowlow")
    array([257, 257], dtype=int32)
    """

    name: ClassVar[str] = "bpe"

    @classmethod
    def learn_pieces(
        cls, pieces: Iterable[str], *, limit: int = 0, min_count: int = 1
    ) -> Self:
        limit = check_limit(cls.name, limit)
        package = library(cls.name)
        tokenizer = by_bytes(package, package.models.BPE())
        trainer = package.trainers.BpeTrainer(
            vocab_size=limit,
            min_frequency=min_count,
            initial_alphabet=tokenizer.pre_tokenizer.alphabet(),
            show_progress=False,
        )
        tokenizer.train_from_iterator(cut(pieces), trainer)
        return cls(tokenizer.to_str())
