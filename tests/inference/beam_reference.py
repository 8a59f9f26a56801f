"""Beam search in NumPy and float64, from the definitions, one sentence at a time.

every    all sequences there are
narrow   beam search as lists of sequences
"""

import itertools
from typing import NamedTuple

import numpy as np

NO_LIMIT = 10**6


class Model(NamedTuple):
    """A decoder of one sentence that depends on all that was said.

    h_t = tanh(A h_{t-1} + E[y_{t-1}]),  p_t = softmax(M h_t),  logits_t = W [h_t, p_t]
    """

    h: np.ndarray
    a: np.ndarray
    e: np.ndarray
    m: np.ndarray
    w: np.ndarray

    @classmethod
    def make(cls, rng, vocabulary, units=3, source=3):
        normal = lambda *shape: 2 * rng.normal(size=shape)
        return cls(
            normal(units),
            normal(units, units),
            normal(vocabulary, units),
            normal(source, units),
            normal(units + source, vocabulary),
        )

    def say(self, h):
        """Log-probabilities and attention."""
        p = softmax(h @ self.m.T)
        logits = np.concatenate([h, p], axis=-1) @ self.w
        return np.log(softmax(logits)), p

    def read(self, h, tokens):
        return np.tanh(h @ self.a + self.e[tokens])


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Options(NamedTuple):
    """The options of one sentence."""

    end: int | None = None
    alpha: float = 0.0
    beta: float = 0.0
    least: int = 0
    most: int = NO_LIMIT
    no_repeat: int = 0
    prefix: tuple = ()

    def allows(self, said, token):
        """Whether ``token`` may follow the tokens ``said``."""
        t = len(said)
        if t < len(self.prefix):
            return token == self.prefix[t]
        if t + 1 >= self.most:
            return token == self.end
        if token == self.end and t + 1 < self.least:
            return False
        n, whole = self.no_repeat, (*said, token)
        grams = [whole[i : i + n] for i in range(len(whole) - n + 1)]
        return not n or len(whole) < n or grams[-1] not in grams[:-1]

    def rank(self, nats, length, seen):
        coverage = np.log(np.minimum(seen, 1)).sum() if self.beta else 0.0
        return nats / ((5 + length) / 6) ** self.alpha + self.beta * coverage


def every(model, options, length):
    """All allowed sequences and their ranks, best first."""
    vocabulary = len(model.e)
    rows = np.array(list(itertools.product(range(vocabulary), repeat=length)))
    h, seen, log_p = np.tile(model.h, (len(rows), 1)), [], []
    for t in range(length):
        said, p = model.say(h)
        log_p.append(np.take_along_axis(said, rows[:, t, None], 1)[:, 0])
        seen.append(p + (seen[-1] if seen else 0))
        h = model.read(h, rows[:, t])
    found = {}
    for n, row in enumerate(map(tuple, rows.tolist())):
        stop = row.index(options.end) + 1 if options.end in row else length
        text = row[:stop]
        if text not in found and all(
            options.allows(text[:t], text[t]) for t in range(stop)
        ):
            nats = sum(log_p[t][n] for t in range(stop))
            found[text] = options.rank(nats, stop, seen[stop - 1][n])
    return sorted(found.items(), key=lambda item: -item[1])


def narrow(model, options, length, width):
    """What a beam of ``width`` finds, with the ranks, best first."""
    beam = [((), 0.0, 0.0, model.h, 0.0)]
    for _ in range(length):
        candidates = []
        for text, nats, rank, h, seen in beam:
            if text and text[-1] == options.end:
                candidates.append((text, nats, rank, h, seen))
                continue
            said, p = model.say(h)
            for token in range(len(said)):
                if options.allows(text, token):
                    whole, total = (*text, token), nats + said[token]
                    rank = options.rank(total, len(whole), seen + p)
                    after = model.read(h, token)
                    candidates.append((whole, total, rank, after, seen + p))
        beam = sorted(candidates, key=lambda c: -c[2])[:width]
    return [(text, rank) for text, _, rank, _, _ in beam]
