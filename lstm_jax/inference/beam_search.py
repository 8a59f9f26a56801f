"""Beam search: the most likely sequences that a beam finds.

    S(y) = sum over t of log p(y_t | y_1 ... y_{t-1})
    rank(y) = S(y) / ((5 + |y|) / 6) ** alpha + penalty(y)

At every step, each of ``width`` sequences is continued by every token, and the
``width`` continuations of highest rank are kept. A sequence that has reached ``end``
stays as it is and competes with the others. Lowerre, "The Harpy Speech Recognition
System", 1976; Sutskever, Vinyals & Le, "Sequence to Sequence Learning with Neural
Networks", NeurIPS 2014; the rank: Wu et al., "Google's Neural Machine Translation
System", 2016, eq. 14, where ``penalty`` is `coverage_penalty` times a constant.

    beam_steps.py   the loop
    rules.py        minimum and maximum lengths, prefixes, repeated tokens
    coverage.py     the coverage penalty
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lstm_jax._types import Array, Float, Int, Lengths, PyTree
from lstm_jax.core.arguments import check_size
from lstm_jax.inference.beam_steps import Search, run
from lstm_jax.inference.rules import check_end, make_rules
from lstm_jax.inference.stepwise import Step, check_batch, check_step


class Beams(NamedTuple):
    """Sequences, best first."""

    tokens: Int[Array, "*B width length"]
    """int32; after ``end`` all tokens are ``end``."""
    scores: Float[Array, "*B width"]
    """The ranks. With ``alpha=0`` and no penalty they are log-probabilities in nats."""
    lengths: Int[Array, "*B width"]
    """int32; the tokens of each sequence, ``end`` included."""


def beam_search(
    step: Step,
    carry: PyTree,
    logits: Float[Array, "1 V"],
    width: int,
    length: int,
    *,
    end: int | None = None,
    alpha: float = 0.0,
) -> Beams:
    """The best sequences after one prompt, in one jitted loop.

    `beam_search_batch` searches for many sentences, and has more options.

    Args:
        step: the model, as in `generate`.
        carry: the state after the prompt, ``[1, ...]`` in every array.
        logits: the logits of the first token, ``[1, V]``.
        width: number of sequences kept. 1 takes the most likely token at every step;
            ``V ** (length - 1)`` is exact.
        length: tokens of a sequence; fewer if it reaches ``end`` earlier.
        end: the token that ends a sequence. ``None``: all sequences have ``length``
            tokens.
        alpha: strength of the length normalisation. 0 is none, which favours short
            sequences. ``|y|`` counts ``end``.

    Returns:
        `Beams`, without a batch axis. If there are fewer than ``width`` sequences, the
        rest have the score ``-inf`` and no meaning. NaN in the logits gives NaN in the
        scores.

    Raises:
        TypeError, ValueError: an argument is not as described, or ``alpha`` is given
            without ``end``, where it has no effect on the order.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import beam_search
    >>> table = jnp.log(jnp.array([[0.6, 0.4], [0.5, 0.5], [0.1, 0.9]]))
    >>> step = lambda carry, tokens: (carry, table[1 + tokens])
    >>> beams = beam_search(step, (), table[:1], width=2, length=2)
    >>> for tokens, score in zip(beams.tokens.tolist(), beams.scores):
    ...     print(tokens, f"{jnp.exp(score):.2f}")
    [1, 1] 0.36
    [0, 0] 0.30
    """
    if jnp.ndim(logits) == 2:
        check_batch("logits", logits, 1)
    found = beam_search_batch(step, carry, logits, width, length, end=end, alpha=alpha)
    return jax.tree.map(lambda a: a[0], found)


def beam_search_batch(
    step: Step,
    carry: PyTree,
    logits: Float[Array, "B V"],
    width: int,
    length: int,
    *,
    end: int | None = None,
    alpha: float = 0.0,
    penalty: Callable[[PyTree], Float[Array, "R"]] | None = None,
    min_lengths: Lengths = 0,
    max_lengths: Lengths | None = None,
    no_repeat: int = 0,
    prefix: Int[Array, "B P"] | np.ndarray | list | None = None,
    prefix_lengths: Lengths | None = None,
    results: int | None = None,
) -> Beams:
    """The best sequences of each sentence of a batch, in one jitted loop.

    The loop ends as soon as no sentence can find anything better. A sentence has the
    sequences that it has alone, as long as the model computes the same logits.

    Args:
        step: the model, ``(carry, tokens [R]) -> (carry, logits [R, V])``. The rows are
            the sequences of all sentences, ``R = B * width``, those of one sentence
            side by side. Pass parameters, and what never changes, such as the states of
            an encoder, as ``jax.tree_util.Partial(function, params, memory)``: only the
            carry is rearranged at every step.
        carry: the state of each sentence, ``[B, ...]`` in every array.
        logits: the logits of the first token, ``[B, V]``.
        width: number of sequences kept for each sentence. 1 takes the most likely token
            at every step.
        length: the most tokens of a sequence.
        end: the token that ends a sequence. ``None``: all sequences have ``length``
            tokens.
        alpha: strength of the length normalisation. 0 is none, which favours short
            sequences. ``|y|`` counts ``end``.
        penalty: a term of the rank, computed from the carry, one number a row, such as
            ``lambda carry: 0.2 * coverage_penalty(carry.attention)``. It must not be
            above 0 (a penalty above 0 gives NaN), and one row must not depend on
            another: it gets ``B`` rows before the first token, and then ``R``. The
            rank of ``y`` takes the carry that predicts its last token, before ``step``
            reads that token.
        min_lengths: the fewest tokens of a sequence with its ``end``, one number or
            ``[B]``.
        max_lengths: the most tokens of a sequence with its ``end``, one number or
            ``[B]``. A sequence that has come to the last of them ends there, and the
            log-probability of that ``end`` counts. 0 marks a row of padding: its result
            is the empty sequence, and it does not keep the loop going. ``None`` or
            more than ``length``: a sequence of ``length`` tokens needs no ``end``.
        no_repeat: the tokens of an n-gram that may not come twice in a sequence; 1
            repeats no token. 0 allows everything.
        prefix: the first tokens of the sequences of each sentence, ``[B, P]``. Their
            log-probabilities count. They are forced whatever the other options say, but
            for rows of padding.
        prefix_lengths: how many tokens of ``prefix`` are forced, one number or ``[B]``.
            ``None``: all.
        results: number of sequences returned, the best. ``None``: ``width``. With fewer
            the loop ends earlier, and the sequences are the same.

    Returns:
        `Beams`. Where a sentence has fewer sequences than ``results``, the rest have
        the score ``-inf`` and no meaning. NaN in the logits of a sentence gives NaN in
        its scores, and so does a token outside the vocabulary in ``prefix``.

    Raises:
        TypeError, ValueError: an argument is not as described, or an option has no
            effect without ``end``.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import beam_search_batch
    >>> after = [[0.1, 0.6, 0.3], [0.2, 0.1, 0.7], [0.3, 0.6, 0.1]]
    >>> table = jnp.log(jnp.array(after))
    >>> step = lambda carry, tokens: (carry, table[tokens])
    >>> search = lambda **options: beam_search_batch(
    ...     step, (), table[jnp.array([0, 0])], width=3, length=4, end=0, **options
    ... )
    >>> search(max_lengths=[3, 2]).tokens[:, 0].tolist()
    [[1, 2, 0, 0], [1, 0, 0, 0]]
    >>> search(prefix=[[2], [1]], no_repeat=2, results=1).tokens.tolist()
    [[[2, 0, 0, 0]], [[1, 2, 0, 0]]]
    """
    check_size("width", width)
    check_size("length", length)
    check_size("no_repeat", no_repeat, least=0)
    results = width if results is None else results
    check_size("results", results, most=width)
    step, carry, logits = check_step(step, carry, logits, width)
    sentences, vocabulary = logits.shape
    few = None if results == width else results
    needing = dict(min_lengths=min_lengths, max_lengths=max_lengths, results=few)
    _check_end(end, vocabulary, alpha, **needing)
    shape = sentences, length, vocabulary
    rules = make_rules(shape, min_lengths, max_lengths, prefix, prefix_lengths)
    penalty = _check_penalty(penalty, carry, sentences)
    token = np.int32(-1 if end is None else end)
    search = Search(rules, token, float(alpha), penalty)
    found = run(
        step,
        search,
        carry,
        logits,
        width=width,
        length=length,
        results=results,
        no_repeat=no_repeat,
    )
    best = (found.tokens, found.ranks, found.lengths)
    return Beams(*(a[:, :results] for a in best))


def _check_end(end, vocabulary, alpha, **needing):
    """Raises an error for a wrong ``end`` or ``alpha``, and without ``end`` for those
    ``needing`` one, unless they are 0 or ``None``.
    """
    if end is not None:
        check_end(end, vocabulary)
    number = isinstance(alpha, int | float | np.number) and not isinstance(alpha, bool)
    if not number or not 0 <= alpha < math.inf:
        raise ValueError(f"alpha is {alpha!r}, expected a number, 0 or more.")
    for name, value in {"alpha": alpha, **needing}.items():
        unused = value is None or (isinstance(value, int | float) and value == 0)
        if end is None and not unused:
            raise ValueError(
                f"{name} is {value!r} without end: all sequences are of the same "
                f"length, and it would change nothing; give end, or leave {name} out."
            )


def _check_penalty(penalty, carry, sentences):
    if penalty is None:
        return None
    if not callable(penalty):
        raise TypeError(
            f"penalty is {type(penalty).__name__}, expected a function of the carry."
        )
    term = jax.eval_shape(penalty, carry)
    fits = getattr(term, "shape", None) == (sentences,)
    if not fits or not jnp.issubdtype(term.dtype, jnp.floating):
        raise ValueError(
            f"penalty returns {term}, expected one floating-point number for each row "
            f"of the carry, of shape ({sentences},)."
        )
    return penalty if isinstance(penalty, Partial) else Partial(penalty)
