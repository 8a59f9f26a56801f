"""The loop of prefix beam search: the prefixes of every row, one step further.

The equations are those of `lstm_jax.inference.ctc_search`.
"""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Float, Int, PyTree
from lstm_jax.core.recurrence.sequence import length_mask


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


def nan_first(scores):
    """What to sort by, so that NaN cannot go unseen."""
    return jnp.where(jnp.isnan(scores), jnp.inf, scores)


@functools.partial(jax.jit, static_argnames="blank")
def advance_rows(state, log_p, lengths, model, terms, *, blank):
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
    values, best = jax.lax.top_k(nan_first(ranks), width)
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
