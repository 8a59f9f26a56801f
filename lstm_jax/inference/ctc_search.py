"""Prefix beam search: the most likely labels of a CTC model.

    p(y) = b_T(y) + l_T(y)
    b_t(y) = (b_{t-1}(y) + l_{t-1}(y)) p_t[blank]
    l_t(y) = l_{t-1}(y) p_t[k] + a_{t-1}(y') p_t[k]       where y = y' k
    a(y') = b(y') if y' ends in k, else b(y') + l(y')

``b(y)`` are the paths that read ``y`` and end in the blank, ``l(y)`` those that end in
its last label. At every step each prefix stays or is extended by one label. The
``beams`` best are kept. Paths that read the same labels are one prefix: an extension
that is in the beam already is added to that prefix. With enough beams ``p(y)`` is
exact, and with fewer it is a lower bound.

A language model adds ``weight * log p_LM(y) + bonus * |y|`` to the score.

All probabilities are logarithms in float32. Graves, "Supervised Sequence Labelling with
Recurrent Neural Networks", 2012, section 7.5; Hannun, Maas, Jurafsky & Ng, "First-Pass
Large Vocabulary Continuous Speech Recognition using Bi-Directional Recurrent DNNs",
2014, which adds the language model.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import Partial

from lstm_jax._types import Array, Float, Int, Lengths, PyTree
from lstm_jax.core.arguments import check_floating, check_size
from lstm_jax.inference.ctc_greedy import check_log_p
from lstm_jax.inference.ctc_steps import CTCState, advance_rows, nan_first
from lstm_jax.inference.stepwise import Step, check_batch, check_step


class CTCBeams(NamedTuple):
    """Label sequences, best first."""

    labels: Int[Array, "*B R L"]
    """int32; -1 after the last label."""
    sizes: Int[Array, "*B R"]
    """int32; the number of labels."""
    scores: Float[Array, "*B R"]
    """float32; the log-probability of all paths of the labels that were found, with the
    terms of the language model. ``-inf`` where there is no sequence."""
    times: Int[Array, "*B R L"]
    """int32; the step at which each label begins; -1 after the last label."""
    label_log_p: Float[Array, "*B R L"]
    """float32; the log-probability of each label at that step, 0 after the last."""


def ctc_beam_search(
    log_p: Float[Array, "T *B K"],
    lengths: Lengths | None = None,
    *,
    blank: int,
    beams: int,
    results: int = 1,
    capacity: int | None = None,
    language_model: Step | None = None,
    carry: PyTree = (),
    logits: Float[Array, "R V"] | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
) -> CTCBeams:
    """The most likely labels of each row.

    `ctc_begin`, `ctc_advance` and `ctc_best` in one call; see these for a stream, which
    finds the same.

    Args:
        log_p: normalised log-probabilities, such as ``jax.nn.log_softmax(logits)``.
        lengths: real steps of every row; ``None`` means all.
        blank: the class that stands for no label.
        beams: prefixes kept for every row.
        results: label sequences returned for every row, the best.
        capacity: the most labels of a sequence. ``None``: as many as steps, so that all
            sequences fit. A smaller number saves memory and time.
        language_model: as in `ctc_advance`. ``None``: no language model.
        carry: as in `ctc_begin`.
        logits: as in `ctc_begin`.
        weight: as in `ctc_advance`.
        bonus: as in `ctc_advance`.

    Returns:
        `CTCBeams`. NaN in a real step of a row gives NaN in its best score.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import ctc_beam_search
    >>> log_p = jnp.log(jnp.array([[0.4, 0.6], [0.4, 0.6]]))
    >>> found = ctc_beam_search(log_p, blank=1, beams=2, results=2)
    >>> for labels, score in zip(found.labels.tolist(), found.scores):
    ...     print(labels, f"{jnp.exp(score):.2f}")  # of one label, three paths
    [0, -1] 0.64
    [-1, -1] 0.36
    """
    log_p, lengths = check_log_p(log_p, lengths, blank)
    check_size("beams", beams)
    check_size("results", results, most=beams)
    capacity = max(1, len(log_p)) if capacity is None else capacity
    batch = log_p.shape[1:-1]
    state = ctc_begin(batch, beams, capacity, carry=carry, logits=logits)
    state = ctc_advance(
        state,
        log_p,
        lengths,
        blank=blank,
        language_model=language_model,
        weight=weight,
        bonus=bonus,
    )
    return ctc_best(state, results)


def ctc_begin(
    batch: tuple[int, ...],
    beams: int,
    capacity: int,
    *,
    carry: PyTree = (),
    logits: Float[Array, "R V"] | None = None,
) -> CTCState:
    """The state before the first step: the empty prefix.

    Args:
        batch: the batch axes, such as ``(8,)``; ``()`` for one sequence.
        beams: prefixes kept for every row.
        capacity: the most labels of a prefix. A prefix of that size is full: it is not
            extended, and the paths that would extend it are lost.
        carry: the state of the language model for every row before the first label,
            ``[R, ...]`` in every array. ``R`` is the product of ``batch``.
        logits: the language model's logits of the first label, ``[R, V]``, where the
            ``V = K - 1`` labels are the classes in order without the blank. ``None``:
            no language model.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> from lstm_jax.inference import ctc_begin, ctc_best
    >>> state = ctc_begin((2,), beams=4, capacity=5)
    >>> ctc_best(state).labels.shape  # two rows, one result each, up to 5 labels
    (2, 1, 5)
    """
    if not isinstance(batch, tuple | list):
        raise TypeError(
            f"batch is {batch!r}, expected a tuple of the batch axes, such as (8,), or "
            f"() for one sequence."
        )
    for n, size in enumerate(batch):
        check_size(f"batch[{n}]", size, least=0)
    check_size("beams", beams)
    check_size("capacity", capacity)
    batch = tuple(batch)
    carry, following = _first(carry, logits, math.prod(batch), beams)
    places, texts = (*batch, beams), (*batch, beams, capacity)
    none = jnp.full(places, -jnp.inf, jnp.float32)
    return CTCState(
        prefixes=jnp.full(texts, -1, jnp.int32),
        sizes=jnp.zeros(places, jnp.int32),
        blank=none.at[..., 0].set(0),
        label=none,
        extra=jnp.zeros(places, jnp.float32),
        common=jnp.zeros((*places, beams), jnp.int32),
        times=jnp.full(texts, -1, jnp.int32),
        label_log_p=jnp.zeros(texts, jnp.float32),
        step=jnp.zeros(batch, jnp.int32),
        carry=carry,
        following=following.reshape(*places, following.shape[-1]),
    )


def _first(carry, logits, rows, beams):
    """The carry and ``log p_LM`` of the first label for every beam."""
    if logits is None:
        if jax.tree.leaves(carry):
            raise ValueError(
                "carry is given without logits; give the logits of the first label, "
                "or leave carry out."
            )
        return (), jnp.zeros((rows * beams, 0), jnp.float32)
    logits = check_floating("logits", logits)
    if logits.ndim != 2 or len(logits) != rows or 0 in logits.shape:
        raise ValueError(
            f"logits has shape {logits.shape}, expected ({rows}, V), a row for every "
            f"row of the batch, neither of them 0."
        )
    check_batch("carry", carry, rows)
    following = jax.nn.log_softmax(logits.astype(jnp.float32))
    repeat = lambda a: jnp.repeat(jnp.asarray(a), beams, axis=0)
    return jax.tree.map(repeat, (carry, following))


def ctc_advance(
    state: CTCState,
    log_p: Float[Array, "T *B K"],
    lengths: Lengths | None = None,
    *,
    blank: int,
    language_model: Step | None = None,
    weight: float = 1.0,
    bonus: float = 0.0,
) -> CTCState:
    """The state after more steps.

    A stream may come in pieces of any length: the result is that of one call. Padding,
    even NaN, changes nothing, and a row has the result that it has alone. Of candidates
    that are equally likely, those of the better beam come first, and then those of the
    lower class.

    Args:
        state: the state of `ctc_begin` or of the piece before.
        log_p: normalised log-probabilities, such as ``jax.nn.log_softmax(logits)``.
        lengths: real steps of every row of this piece; ``None`` means all.
        blank: the class that stands for no label.
        language_model: ``(carry, tokens [R]) -> (carry, logits [R, V])``, with the
            beams of all rows as rows, as the ``step`` of `beam_search_batch`. It reads
            one label of each beam at every step. Pass parameters as
            ``jax.tree_util.Partial(function, params)``. The `ctc_begin` of a state for
            a language model has ``logits``.
        weight: what the language model's log-probability of every label is multiplied
            by, 0 or more. It has no effect without a language model.
        bonus: what every label adds to the score, with or without a language model.

    Raises:
        TypeError, ValueError: an argument is not as described, or ``log_p`` and
            ``state`` do not match.

    >>> import jax
    >>> import jax.numpy as jnp
    >>> from lstm_jax.inference import ctc_advance, ctc_begin, ctc_best
    >>> path = jnp.array([0, 0, 2, 0, 1])
    >>> log_p = jax.nn.log_softmax(9 * jax.nn.one_hot(path, 3))
    >>> state = ctc_begin((), beams=4, capacity=5)
    >>> for piece in (log_p[:2], log_p[2:]):
    ...     state = ctc_advance(state, piece, blank=2)
    ...     print(ctc_best(state).labels[0].tolist())
    [0, -1, -1, -1, -1]
    [0, 0, 1, -1, -1]
    >>> ctc_best(state).times[0].tolist()
    [0, 3, 4, -1, -1]
    """
    _check_state(state)
    log_p, lengths = check_log_p(log_p, lengths, blank)
    batch, classes = log_p.shape[1:-1], log_p.shape[-1]
    if state.step.shape != batch:
        raise ValueError(
            f"log_p has shape {log_p.shape}, expected [T, ..., K] with the batch axes "
            f"of the state, {state.step.shape}."
        )
    _check_number("weight", weight, least=0)
    _check_number("bonus", bonus)
    model = _check_model(state, language_model, classes)
    terms = np.float32(weight), np.float32(bonus)
    return advance_rows(state, log_p, lengths, model, terms, blank=int(blank))


def ctc_best(state: CTCState, results: int = 1) -> CTCBeams:
    """The most likely labels of each row so far.

    The times are those of the likelier paths: where paths that begin the last label at
    this step outweigh all earlier ones of the same labels, the times become theirs.

    Args:
        state: the state of `ctc_advance`.
        results: label sequences of every row, at most as many as beams.

    Raises:
        TypeError, ValueError: an argument is not as described.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax.inference import ctc_advance, ctc_begin, ctc_best
    >>> log_p = jax.nn.log_softmax(9 * jax.nn.one_hot(jnp.array([0, 2, 1]), 3))
    >>> state = ctc_advance(ctc_begin((), beams=4, capacity=5), log_p, blank=2)
    >>> ctc_best(state, results=2).labels[0].tolist()
    [0, 1, -1, -1, -1]
    """
    _check_state(state)
    check_size("results", results, most=state.sizes.shape[-1])
    return _best(state, results=results)


def _check_state(state):
    if not isinstance(state, CTCState):
        raise TypeError(
            f"state is {type(state).__name__}, expected a CTCState; make one with "
            f"ctc_begin."
        )


def _check_number(name, value, least=-math.inf):
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value < least:
        bound = "" if math.isinf(least) else f", {least} or more"
        raise ValueError(f"{name} is {value!r}, expected a finite number{bound}.")


def _check_model(state, model, classes):
    """The language model as an argument of a program."""
    labels = state.following.shape[-1]
    if model is None:
        if labels:
            raise ValueError(
                "language_model is None, but the state is one for a language model; "
                "give the language model, or leave logits out."
            )
        return None
    if not labels:
        raise ValueError(
            "language_model is given, but the state is one without; give the logits "
            "of the first label, and the carry, at the start."
        )
    if labels != classes - 1:
        raise ValueError(
            f"logits are of {labels} labels, expected {classes - 1}: the {classes} "
            f"classes of log_p without the blank."
        )
    if not callable(model):
        raise TypeError(
            f"language_model is {type(model).__name__}, expected a function "
            f"(carry, tokens) -> (carry, logits)."
        )
    if state.following.size == 0:
        return model if isinstance(model, Partial) else Partial(model)
    return check_step(model, state.carry, state.following.reshape(-1, labels))[0]


@functools.partial(jax.jit, static_argnames="results")
def _best(state, *, results):
    scores = jnp.logaddexp(state.blank, state.label) + state.extra
    best = jax.lax.top_k(nan_first(scores), results)[1]
    take = lambda a: jnp.take_along_axis(a, best, axis=-1)
    texts = lambda a: jnp.take_along_axis(a, best[..., None], axis=-2)
    scores = take(scores)
    none = jnp.isneginf(scores)
    return CTCBeams(
        labels=jnp.where(none[..., None], -1, texts(state.prefixes)),
        sizes=jnp.where(none, 0, take(state.sizes)),
        scores=scores,
        times=jnp.where(none[..., None], -1, texts(state.times)),
        label_log_p=jnp.where(none[..., None], 0, texts(state.label_log_p)),
    )
