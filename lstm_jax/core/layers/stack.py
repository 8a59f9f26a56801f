"""Stacks of layers, in one direction or bidirectional.

A stack knows its cells and how they are joined. Parameters and states are tuples with
one entry per layer. Each layer drops inputs, runs in each direction, merges the
directions, and adds the skip connection.
"""

import dataclasses
import functools
import itertools
from collections.abc import Mapping, Sequence
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp

from lstm_jax._types import Array, Bool, Float, Key, Lengths
from lstm_jax.core import init
from lstm_jax.core.arguments import (
    check_bool,
    check_choice,
    check_dtype,
    check_one_key,
    check_rate,
    check_size,
    check_start,
    renamed,
)
from lstm_jax.core.cells.cell import Cell, is_random, require_cell
from lstm_jax.core.cells.checks import check_layers, check_time_major
from lstm_jax.core.cells.contract import check_options, init_options_of, params_of
from lstm_jax.core.layers.bidirectional import (
    Bidirectional,
    Merge,
    bidirectional,
    map_ways,
    merged_size,
    two_directions,
)
from lstm_jax.core.layers.masks import StackMasks
from lstm_jax.core.layers.repeat import run_layers, stack_trees
from lstm_jax.core.recurrence.sequence import zero_padding
from lstm_jax.core.recurrence.unroll import unroll

Skip = Literal["residual", "dense"]


@dataclasses.dataclass(frozen=True)
class Stack:
    """A stack of recurrent layers: static sizes and options. Equal stacks hash equal.

    Args:
        cells: one per layer, from the bottom up; sizes may differ.
        bidirectional: every layer runs in both directions.
        merge: how to join the outputs of the two directions: ``concat``, ``sum``,
            ``mul`` or ``mean``. With ``none`` the directions stay separate: each reads
            the same direction of the layer below, and the outputs are a `Bidirectional`
            (as in the biLM of Peters et al. 2018).
        skip: ``residual`` adds the input of a layer to its output (in the first layer
            only if the sizes agree). ``dense`` lets a layer read the inputs and the
            outputs of all layers below, concatenated.
        input_dropout, dropout, output_dropout: dropout rates of the inputs of the
            stack, between layers, and of the outputs. Dropout needs a key in the call.
        locked: variational dropout: one mask for all steps of a sequence (Gal &
            Ghahramani 2016) instead of one per step.
        weight_drop: dropout rate of the recurrent weights; see `lstm_jax.weight_drop`.
        stacked: store neighbouring equal layers as one entry of parameters and carries,
            whose arrays have a leading axis of layers. Then the compile time does not
            grow with the number of layers. Nine or more equal layers run in one loop
            even without ``stacked``. Neighbouring layers count as equal if they have
            the same cell and it returns as many features as it reads. With
            ``skip="dense"`` or ``merge="none"`` no layers count as equal.

    Raises:
        ValueError: no cells, an unknown ``merge`` or ``skip``, a rate outside
            ``[0, 1)``, ``dropout`` with a single layer, or a residual layer whose sizes
            differ (from `init` and calls).

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import GRUCell, LSTMCell, Stack
    >>> stack = Stack([LSTMCell(5), GRUCell(4)], bidirectional=True, merge="sum")
    >>> params = stack.init(jax.random.key(0), in_size=3)
    >>> carries, hs = stack(params, None, jnp.ones((7, 2, 3)), lengths=[7, 4])
    >>> hs.shape, carries[0].forward.c.shape
    ((7, 2, 4), (2, 5))
    """

    cells: Sequence[Cell]
    bidirectional: bool = False
    merge: Merge = "concat"
    skip: Skip | None = None
    input_dropout: float = 0.0
    dropout: float = 0.0
    output_dropout: float = 0.0
    locked: bool = False
    weight_drop: float = 0.0
    stacked: bool = False

    def __post_init__(self):
        if isinstance(self.cells, Cell) or not isinstance(self.cells, Sequence):
            raise TypeError(f"cells is {self.cells!r}, expected a list, one per layer.")
        object.__setattr__(self, "cells", tuple(self.cells))
        if not self.cells:
            raise ValueError("cells is empty, expected one cell per layer.")
        axes = {require_cell("a cell", cell).feature_axes for cell in self.cells}
        if len(axes) > 1:
            raise ValueError(
                f"cells have {' and '.join(str(n - 1) for n in sorted(axes))} spatial "
                f"axes, expected the same number in all layers."
            )
        for name in ("bidirectional", "locked", "stacked"):
            check_bool(name, getattr(self, name))
        check_choice("merge", self.merge, get_args(Merge))
        check_choice("skip", self.skip, (None, *get_args(Skip)))
        for name in ("input_dropout", "dropout", "output_dropout", "weight_drop"):
            check_rate(name, getattr(self, name))
        if self.dropout and len(self.cells) == 1:
            raise ValueError(
                f"dropout is {self.dropout} but there is one layer: dropout acts "
                f"between layers; set input_dropout or output_dropout."
            )

    @property
    def regularisers(self) -> list[str]:
        """Names of the regularisers. They act only in calls with a key."""
        names = ("input_dropout", "dropout", "output_dropout", "weight_drop")
        rates = [f"{name}={rate}" for name in names if (rate := getattr(self, name))]
        cells = (type(cell).__name__ for cell in self.cells if is_random(cell))
        return [*rates, *dict.fromkeys(cells)]

    @property
    def is_random(self) -> bool:
        """Whether a call with a key differs from one without."""
        return bool(self.regularisers)

    def sizes(self, in_size: int) -> tuple[int, ...]:
        """The number of features that each layer reads, then the number of output
        features.
        """
        sizes, out = [in_size], in_size
        for layer, cell in enumerate(self.cells):
            reads, out = sizes[-1], self._out_size(cell)
            if self.skip == "residual" and layer > 0 and reads != out:
                raise ValueError(
                    f"layer {layer} reads {reads} features and returns {out}, "
                    f"expected equal sizes for skip='residual'."
                )
            last = layer == len(self.cells) - 1
            sizes.append(reads + out if self.skip == "dense" and not last else out)
        return tuple(sizes)

    def _out_size(self, cell):
        if not self.bidirectional:
            return cell.out_size
        return merged_size(self.merge, cell.out_size)

    def init(
        self,
        key: Key[Array, ""],
        in_size: int,
        *,
        w_x: init.Initializer | None = None,
        w_h: init.Initializer | None = None,
        forget_bias: init.ForgetBias | None = None,
        dtype: Any = None,
        init_options: Mapping[str, Any] | None = None,
    ) -> tuple[Any, ...]:
        """Parameters: for each layer ``cell.init(key, in_size, ...)``, or a
        `Bidirectional` of two.

        Args:
            key: key of the random numbers.
            in_size: ``D``, features of an input.
            w_x, w_h, forget_bias, dtype: as in `lstm_jax.init_lstm`; ``None`` uses the
                default of the cells.
            init_options: other arguments for ``init`` of the cells, such as
                ``{"w_hr": ...}``.

        Raises:
            TypeError: ``init`` of a cell does not accept one of these.
            ValueError: an argument is given twice, once in ``init_options``.
        """
        check_size("in_size", in_size)
        options = init_options_of(
            init_options, w_x=w_x, w_h=w_h, forget_bias=forget_bias, dtype=dtype
        )
        keys = jax.random.split(check_one_key(key), len(self.cells))

        def layer(key, cell, features):
            params_of(cell, features, jnp.dtype(jnp.float32))
            check_options(cell, options)
            if not self.bidirectional:
                return cell.init(key, features, **options)
            one, other = jax.random.split(key)
            return Bidirectional(
                cell.init(one, features, **options),
                cell.init(other, features, **options),
            )

        layers = map(layer, keys, self.cells, self.sizes(in_size)[:-1])
        return self._entries(layers, self._groups(in_size))

    def zero_carry(
        self,
        in_size: int,
        batch_shape: tuple[int, ...],
        dtype: Any = jnp.float32,
    ) -> tuple[Any, ...]:
        """The zero carry of every layer."""
        return self._carries(in_size, lambda cell: cell.zero_carry(batch_shape, dtype))

    def initial_carry(self, in_size: int, dtype: Any = jnp.float32) -> tuple[Any, ...]:
        """The trainable initial carry of every layer, without batch axes. A call uses
        it for all rows.
        """
        carries = self._carries(in_size, lambda cell: cell.initial_carry(dtype))
        for path, a in jax.tree.leaves_with_path(carries):
            if not jnp.issubdtype(a.dtype, jnp.floating):
                raise TypeError(
                    f"the carry{jax.tree_util.keystr(path)} has dtype {a.dtype.name}, "
                    f"expected floating point: a carry with counters or flags cannot "
                    f"be trained."
                )
        return carries

    def _carries(self, in_size, make):
        """One entry per layer. Each has its own buffers, so all can be donated."""

        def layer(cell):
            if not self.bidirectional:
                return make(cell)
            return Bidirectional(make(cell), make(cell))

        return self._entries(map(layer, self.cells), self._groups(in_size))

    @renamed(reset_carries="reset_carry", run="implementation")
    def __call__(
        self,
        params: Sequence[Any],
        carries: Sequence[Any] | None,
        xs: Float[Array, "T *B D"],
        *,
        lengths: Lengths | None = None,
        mask: Bool[Array, "T *B"] | None = None,
        resets: Bool[Array, "T *B"] | None = None,
        reset_carry: Sequence[Any] | None = None,
        reverse: bool = False,
        key: Key[Array, ""] | None = None,
        start: int | Array = 0,
        dtype: Any = None,
        remat: bool | int | None = None,
        implementation: str | None = None,
    ) -> tuple[tuple[Any, ...], Any]:
        """Runs the layers; returns the final carry of every layer, and the outputs.

        Args:
            params: one entry per layer, from `init`.
            carries: one entry per layer; ``None`` is zeros everywhere. A carry without
                batch axes is used for every row.
            xs: inputs ``[T, ..., D]``.
            lengths, mask, resets, remat, implementation: as in `lstm_jax.unroll`.
            reset_carry: one entry per layer: the states at the start of an episode.
            reverse: as in `lstm_jax.unroll`; not for bidirectional layers.
            key: key for all masks. A mask depends on the key, the layer and the
                direction, and without ``locked`` also on the absolute step. ``None``
                means evaluation.
            start: absolute step of ``xs[0]``, for a sequence in pieces.
            dtype: compute dtype, by default the dtype of ``xs``.

        Raises:
            TypeError, ValueError: as in `lstm_jax.unroll`; or ``params``, ``carries``
                or ``reset_carry`` do not have one entry per layer.
            NotImplementedError: the named implementation does not support a layer.
        """
        sequence = dict(lengths=lengths, mask=mask, resets=resets, remat=remat)
        if not self.bidirectional:
            sequence["reverse"] = reverse
        elif check_bool("reverse", reverse):
            raise ValueError("reverse is True, expected False for two directions.")
        key = None if key is None else check_one_key(key)
        start = check_start(start)
        xs = check_time_major(self.cells[0], xs)
        xs = xs if dtype is None else xs.astype(check_dtype(dtype))
        groups = self._groups(xs.shape[-1])
        entries = (("params", params), ("carries", carries))
        entries = (*entries, ("reset_carry", reset_carry))
        layers = zip(*(self._check_entries(*e, groups) for e in entries), strict=True)
        masks = StackMasks(self, key, start)

        def layer(n, cell, params, carry, reset_carry, below):
            spread = functools.partial(spread_carry, cell, xs=xs)
            carry, reset_carry = map_ways(spread, carry), map_ways(spread, reset_carry)
            options = {"reset_carry": reset_carry, **masks.of_cell(n), **sequence}
            one_way = functools.partial(unroll, cell, implementation=implementation)
            params, inputs = masks.weights(n, params), masks.between(n, below)
            if self.bidirectional:
                carry, out = bidirectional(
                    one_way, params, carry, inputs, merge=self.merge, **options
                )
            else:
                carry, out = one_way(params, carry, inputs, **options)
            return carry, self.with_skip(n, below, out)

        if self.skip == "residual":  # the skip takes the padding past the first layer
            xs = zero_padding(self.cells[0], xs, lengths, mask)
        xs = masks.of_inputs(xs)
        final, hs = run_layers(layer, groups, layers, xs, self.stacked)
        return final, masks.of_outputs(hs)

    def _groups(self, in_size):
        """``(cell, count)`` of neighbouring equal layers, from the bottom up."""
        sizes = self.sizes(in_size)
        apart = self.skip == "dense" or (self.bidirectional and self.merge == "none")

        def facts(n):
            reads, out = sizes[n : n + 2]
            return self.cells[n], n if apart or reads != out else None

        groups = itertools.groupby(map(facts, range(len(self.cells))))
        return [(cell, len([*same])) for (cell, _), same in groups]

    def with_skip(self, n: int, below: Any, out: Any) -> Any:
        """What the layer above layer ``n`` reads, from what ``n`` reads and returns."""
        if self.skip == "residual":
            add = lambda x, y: x + y if x.shape == y.shape else y
            return map_ways(add, below, out)
        if self.skip == "dense" and n < len(self.cells) - 1:
            join = lambda x, y: jnp.concatenate([x, y], axis=-1)
            return map_ways(join, below, out)
        return out

    def _entries(self, layers, groups):
        """One entry per layer, or per group of equal layers if stacked."""
        if not self.stacked:
            return tuple(layers)
        layers = iter(layers)
        take = lambda count: [*itertools.islice(layers, count)]
        return tuple(
            next(layers) if count == 1 else stack_trees(take(count))
            for _, count in groups
        )

    def by_layer(self, in_size: int, entries: Sequence[Any]) -> tuple[Any, ...]:
        """Parameters or carries with one entry per layer, even if ``stacked``."""
        groups = self._groups(in_size)
        entries = self._check_entries("params", entries, groups)
        if not self.stacked:
            return entries
        return tuple(
            entry if count == 1 else jax.tree.map(lambda a, n=n: a[n], entry)
            for (_, count), entry in zip(groups, entries, strict=True)
            for n in range(count)
        )

    def _check_entries(self, name, entries, groups) -> tuple:
        count = len(groups) if self.stacked else len(self.cells)
        if entries is None:
            if name == "params":
                raise ValueError("params is None, expected what `init` returns.")
            return (None,) * count
        entries = check_layers(name, entries)
        if len(entries) != count:
            one = "one per group of equal layers" if self.stacked else "one per layer"
            raise ValueError(
                f"{name} has {len(entries)} entries, expected {count}, {one}"
                f"{'' if name == 'params' else '; pass None for zeros'}."
            )
        self._check_directions(name, entries)
        return entries

    def _check_directions(self, name, entries):
        """Checks that every entry has the right number of directions; ``None`` fits
        both.
        """
        given = [e for e in entries if e is not None]
        two = two_directions(name, given)
        if given and two != self.bidirectional:
            has, wanted = ("two", "one") if two else ("one", "two")
            raise ValueError(
                f"{name} is of layers in {has} direction{'s' if two else ''}, expected "
                f"{wanted}, since bidirectional={self.bidirectional}."
            )


def spread_carry(cell: Cell, carry: Any, xs: Array) -> Any:
    """Broadcasts a carry without batch axes over all rows; other carries stay as they
    are.
    """
    zeros = lambda *shape: cell.zero_carry(shape, xs.dtype)
    one, rows = jax.eval_shape(lambda: (zeros(), zeros(*xs.shape[1:-1])))
    shapes = functools.partial(jax.tree.map, jnp.shape)
    if carry is None or shapes(carry) != shapes(one):
        return carry
    to = lambda x, like: jnp.broadcast_to(x, like.shape).astype(like.dtype)
    return jax.tree.map(to, carry, rows)
