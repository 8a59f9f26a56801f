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
from lstm_jax.core.recurrence.sequence import length_mask
from lstm_jax.inference.ctc_greedy import check_log_p
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


class CTCState(NamedTuple):
    """The prefixes of every row after some steps, ``W`` beams, best first.

    Every array can be saved, and a search goes on from what was saved.
    """

    prefixes: Int[Array, "*B W L"]
    """int32; -1 after the last label."""
    sizes: Int[Array, "*B W"]
    blank: Float[Array, "*B W"]
    """``log b(y)``, the paths that end in the blank. Where ``b(y) + l(y)`` is 0, the
    beam holds no prefix."""
    label: Float[Array, "*B W"]
    """``log l(y)``, the paths that end in the last label."""
    extra: Float[Array, "*B W"]
    """``weight * log p_LM(y) + bonus * |y|``."""
    common: Int[Array, "*B W W"]
    """The number of first labels that two prefixes share. It says whether one prefix
    extends another, which costs ``L`` times more to read off the prefixes."""
    times: Int[Array, "*B W L"]
    label_log_p: Float[Array, "*B W L"]
    step: Int[Array, "*B"]
    """Real steps so far."""
    carry: PyTree
    """The state of the language model, ``[R, ...]`` in every array, with the
    ``R = B * W`` beams of all rows as its rows. ``()`` without a language model."""
    following: Float[Array, "*B W V"]
    """``log p_LM`` of the next label. ``V`` is 0 without a language model."""


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
    return _advance(state, log_p, lengths, model, terms, blank=int(blank))


def ctc_best(state: CTCState, results: int = 1) -> CTCBeams:
    """The most likely labels of each row so far.

    The times are those of the likelier paths: where paths that begin the last label at
    this step outweigh all earlier ones of the same labels, the times become theirs.

    Args:
        state: the state of `ctc_advance`.
        results: label sequences of every row, at most as many as beams.

    Raises:
        TypeError, ValueError: an argument is not as described.
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
    best = jax.lax.top_k(_nan_first(scores), results)[1]
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


def _nan_first(scores):
    """What to sort by, so that NaN cannot go unseen."""
    return jnp.where(jnp.isnan(scores), jnp.inf, scores)


@functools.partial(jax.jit, static_argnames="blank")
def _advance(state, log_p, lengths, model, terms, *, blank):
    steps, *batch, classes = log_p.shape
    width, rows = state.sizes.shape[-1], math.prod(batch)
    flat = lambda a: a.reshape(rows, *a.shape[len(batch) :])
    given = jax.tree.map(flat, state._replace(carry=()))
    real = length_mask(lengths.reshape(rows), steps)
    log_p = jnp.where(real[..., None], log_p.reshape(steps, rows, classes), 0)
    is_label = jnp.arange(classes, dtype=jnp.int32) != blank

    def gains(following):
        """What each class adds to ``extra``."""
        gain = jnp.broadcast_to(jnp.where(is_label, terms[1], 0), (width, classes))
        if model is None:
            return gain
        # A weight of 0 ignores what the language model forbids.
        weighted = jnp.where(terms[0] == 0, 0, terms[0] * following)
        before, after = weighted[:, :blank], weighted[:, blank:]
        zero = jnp.zeros((width, 1), jnp.float32)
        return gain + jnp.concatenate([before, zero, after], axis=1)

    def one_row(row, log_p, real):
        after, move = _one_step(row, log_p, gains(row.following), blank)
        keep = lambda new, old: jnp.where(real, new, old)
        own = jnp.arange(width, dtype=jnp.int32)
        move = jax.tree.map(keep, move, _Move(own, jnp.full_like(own, blank)))
        return jax.tree.map(keep, after, row), move

    def step(state, at):
        found, carry = state
        found, move = jax.vmap(one_row)(found, *at)
        if model is not None:
            found, carry = _read(model, found, carry, move, blank)
        return (found, carry), None

    (found, carry), _ = jax.lax.scan(step, (given, state.carry), (log_p, real))
    shaped = lambda a: a.reshape(*batch, *a.shape[1:])
    return jax.tree.map(shaped, found)._replace(carry=carry)


class _Move(NamedTuple):
    """Where each new beam comes from."""

    origins: Int[Array, "*B W"]
    classes: Int[Array, "*B W"]
    """The label that extends the prefix, or the blank."""


def _read(model, found, carry, move, blank):
    """The language model after the labels that extend prefixes."""
    rows, width = move.origins.shape
    starts = width * jnp.arange(rows, dtype=jnp.int32)
    origins = (starts[:, None] + move.origins).reshape(-1)
    classes = move.classes.reshape(-1)
    grown = classes != blank
    tokens = jnp.where(grown, classes - (classes > blank).astype(jnp.int32), 0)
    labels = found.following.shape[-1]
    before = found.following.reshape(rows * width, labels)[origins]
    carry = jax.tree.map(lambda a: a[origins], carry)
    after, logits = model(carry, tokens)
    following = jax.nn.log_softmax(logits.astype(jnp.float32))

    def pick(new, old):
        return jnp.where(grown.reshape(-1, *(1,) * (new.ndim - 1)), new, old)

    shaped = pick(following, before).reshape(found.following.shape)
    return found._replace(following=shaped), jax.tree.map(pick, after, carry)


class _Kept(NamedTuple):
    """Each prefix of one row after a step that does not extend it."""

    blank: Float[Array, "W"]
    label: Float[Array, "W"]
    """With the paths of its parent that come to read the same."""
    parents: Int[Array, "W"]
    """The beam of the prefix without its last label, ``W`` where there is none."""
    renewed: Array
    """Whether the paths from the parent outweigh the others."""


def _one_step(row, log_p, gains, blank):
    """One step of one row, without a batch axis, and where its beams come from."""
    width, classes = gains.shape
    kept, extended = _candidates(row, log_p, blank)
    scores = extended.at[:, blank].set(jnp.logaddexp(kept.blank, kept.label))
    # Where there are no paths, what the language model says does not matter, not even
    # NaN.
    ranks = scores + row.extra[:, None] + gains
    ranks = jnp.where(jnp.isneginf(scores), -jnp.inf, ranks).reshape(-1)
    values, best = jax.lax.top_k(_nan_first(ranks), width)
    best, some = best.astype(jnp.int32), ~jnp.isneginf(values)
    move = _Move(best // classes, best % classes)
    origins, grown = move.origins, move.classes != blank
    sizes = row.sizes[origins] + grown.astype(jnp.int32)
    last = jnp.where(grown, move.classes, _last(row)[origins])
    renewed = kept.renewed[origins] & ~grown
    sources = jnp.where(renewed, kept.parents[origins], origins)
    places = jnp.arange(row.prefixes.shape[1], dtype=jnp.int32)
    at = places[None] == sizes[:, None] - 1

    def written(texts, where, values):
        return jnp.where(at & where[:, None], values[:, None], texts)

    begun = jnp.broadcast_to(row.step, (width,))
    paths = jnp.where(grown, extended.reshape(-1)[best], kept.label[origins])
    resting = jnp.where(grown, -jnp.inf, kept.blank[origins])
    after = row._replace(
        prefixes=written(row.prefixes[origins], grown, move.classes),
        sizes=sizes,
        blank=jnp.where(some, resting, -jnp.inf),
        label=jnp.where(some, paths, -jnp.inf),
        extra=jnp.where(some, (row.extra[:, None] + gains).reshape(-1)[best], 0),
        common=_common(row, move, grown, sizes),
        times=written(row.times[sources], grown | renewed, begun),
        label_log_p=written(row.label_log_p[sources], grown | renewed, log_p[last]),
        step=row.step + 1,
    )
    return after, move


def _last(row):
    """The last label of each prefix; 0 for the empty one."""
    at = jnp.maximum(row.sizes - 1, 0)[:, None]
    last = jnp.take_along_axis(row.prefixes, at, axis=1)[:, 0]
    return jnp.where(row.sizes > 0, last, 0)


def _candidates(row, log_p, blank):
    """Each prefix as it stays, and ``log l`` of its extension by each class,
    ``[W, K]``, ``-inf`` for the blank and for what is in the beam already.
    """
    width, capacity = row.prefixes.shape
    both = jnp.logaddexp(row.blank, row.label)
    alive, last = ~jnp.isneginf(both), _last(row)
    labels = jnp.arange(len(log_p), dtype=jnp.int32)[None]
    repeats = (row.sizes > 0)[:, None] & (labels == last[:, None])
    paths = jnp.where(repeats, row.blank[:, None], both[:, None])
    open_ = (alive & (row.sizes < capacity))[:, None] & (labels != blank)
    extended = jnp.where(open_, paths + log_p[None], -jnp.inf)
    # Prefix j is prefix i and one label more.
    extends = row.sizes[None] == row.sizes[:, None] + 1
    extends &= (row.common == row.sizes[:, None]) & alive[:, None] & alive[None]
    parent = jnp.argmax(extends, axis=0).astype(jnp.int32)
    parents = jnp.where(extends.any(axis=0), parent, width)
    merged = extended.at[parents, last].get(mode="fill", fill_value=-jnp.inf)
    extended = extended.at[parents, last].set(-jnp.inf, mode="drop")
    stays = alive & (row.sizes > 0)
    label = jnp.where(stays, row.label + log_p[last], -jnp.inf)
    resting = jnp.where(alive, both + log_p[blank], -jnp.inf)
    kept = _Kept(
        blank=resting,
        label=jnp.logaddexp(label, merged),
        parents=parents,
        renewed=merged > jnp.logaddexp(label, resting),
    )
    return kept, extended


def _common(row, move, grown, sizes):
    """`CTCState.common` of the new prefixes. A label more matters where one old prefix
    is the beginning of the other.
    """
    origins = move.origins
    before = row.sizes[origins]
    common = row.common[origins][:, origins]
    following = row.prefixes[origins][:, jnp.minimum(before, row.prefixes.shape[1] - 1)]
    begins = (common == before[:, None]) & (before[:, None] < before[None])
    same = move.classes[:, None] == following.T
    longer = (grown[:, None] & begins & same).astype(jnp.int32)
    own = jnp.eye(len(origins), dtype=bool)
    return jnp.where(own, sizes[:, None], common + longer + longer.T)
