"""Layers on top of each other, in one direction or in two.

A stack knows its cells and how they are joined; parameters and states are tuples with
one entry a layer. Layer by layer: drop inputs, run in each direction, merge, skip.
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
from lstm_jax.core.recurrence.unroll import unroll

Skip = Literal["residual", "dense"]


@dataclasses.dataclass(frozen=True)
class Stack:
    """Static facts of a stack of recurrent layers; equal stacks hash equal.

    Args:
        cells: one a layer, from the bottom up; sizes may differ.
        bidirectional: every layer runs in both directions.
        merge: the two outputs become one by ``concat``, ``sum``, ``mul`` or ``mean``.
            With ``none`` the directions never meet: each reads its own direction below,
            and outputs are a `Bidirectional` (as in the biLM of Peters et al. 2018).
        skip: ``residual`` adds its input to the output of a layer (of the first one
            where the sizes agree). With ``dense`` a layer reads the inputs and the
            outputs of all layers below, side by side.
        input_dropout, dropout, output_dropout: shares zeroed of the inputs of the
            stack, between layers, and of the outputs, in calls with a key.
        locked: one such mask for all steps of a sequence (Gal & Ghahramani 2016)
            instead of one for each.
        weight_drop: share of the recurrent weights zeroed; see `lstm_jax.weight_drop`.
        stacked: equal layers in a row are one entry of parameters and carries, its
            arrays with a leading axis of layers. Layers that read as many features as
            they put out run in one loop from nine on, stacked or not; if their arrays
            come stacked too, compile time does not grow with their number.

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
            raise TypeError(f"cells is {self.cells!r}, expected a list, one a layer.")
        object.__setattr__(self, "cells", tuple(self.cells))
        if not self.cells:
            raise ValueError("cells is empty, expected one cell a layer.")
        axes = {require_cell("a cell", cell).feature_axes for cell in self.cells}
        if len(axes) > 1:
            raise ValueError(
                "cells have different axes of space, expected the same in all layers."
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
        """What acts in calls with a key alone, by name."""
        names = ("input_dropout", "dropout", "output_dropout", "weight_drop")
        rates = [f"{name}={rate}" for name in names if (rate := getattr(self, name))]
        cells = (type(cell).__name__ for cell in self.cells if is_random(cell))
        return [*rates, *dict.fromkeys(cells)]

    @property
    def is_random(self) -> bool:
        """Whether a call with a key differs from one without."""
        return bool(self.regularisers)

    def sizes(self, in_size: int) -> tuple[int, ...]:
        """Features that every layer reads, and at the end those of the outputs."""
        sizes, out = [in_size], in_size
        for layer, cell in enumerate(self.cells):
            reads, out = sizes[-1], self._out_size(cell)
            if self.skip == "residual" and layer > 0 and reads != out:
                raise ValueError(
                    f"layer {layer} reads {reads} features and puts out {out}, "
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
        """Parameters: what ``cell.init(key, in_size, ...)`` returns for each layer, or
        a `Bidirectional` of two.

        Args:
            key: source of the random numbers.
            in_size: ``D``, features of an input.
            w_x, w_h, forget_bias, dtype: as in `lstm_jax.init_lstm`; ``None`` is what
                the cells begin with.
            init_options: other arguments of the ``init`` of the cells, such as
                ``{"w_hr": ...}``.

        Raises:
            TypeError: the ``init`` of a cell does not take one of these.
            ValueError: one is given twice, also in ``init_options``.
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
        """Every layer's carry of zeros."""
        return self._carries(in_size, lambda cell: cell.zero_carry(batch_shape, dtype))

    def initial_carry(self, in_size: int, dtype: Any = jnp.float32) -> tuple[Any, ...]:
        """Every layer's carry without batch axes, to be trained: a call spreads it
        over all rows."""
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
        """One entry a layer. No two share a buffer, so that all can be donated."""

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
        """Runs the layers and returns every layer's final carry, and the outputs.

        Args:
            params: one entry a layer, from `init`.
            carries: likewise; ``None`` is zeros everywhere. A carry without batch axes
                is that of every row.
            xs: inputs ``[T, ..., D]``.
            lengths, mask, resets, remat, implementation: as in `lstm_jax.unroll`.
            reset_carry: one entry a layer, the states at the start of an episode.
            reverse: as in `lstm_jax.unroll`; not for layers in two directions.
            key: key of all the masks, which are functions of (key, layer, direction),
                and of the absolute step unless locked; ``None`` is evaluation.
            start: absolute step of ``xs[0]``, for a sequence that comes in pieces.
            dtype: compute dtype, by default that of ``xs``.

        Raises:
            TypeError, ValueError: as `lstm_jax.unroll`; ``params``, ``carries`` or
                ``reset_carry`` do not have one entry a layer.
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
            spread = functools.partial(_spread, cell, xs=xs)
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
            return carry, self._with_skip(n, below, out)

        xs = masks.of_inputs(xs)
        final, hs = run_layers(layer, groups, layers, xs, self.stacked)
        return final, masks.of_outputs(hs)

    def _groups(self, in_size):
        """``(cell, count)`` of equal layers in a row, from the bottom up."""
        sizes = self.sizes(in_size)
        apart = self.skip == "dense" or (self.bidirectional and self.merge == "none")

        def facts(n):
            reads, out = sizes[n : n + 2]
            return self.cells[n], n if apart or reads != out else None

        groups = itertools.groupby(map(facts, range(len(self.cells))))
        return [(cell, len([*same])) for (cell, _), same in groups]

    def _with_skip(self, n, below, out):
        """What the layer above reads."""
        if self.skip == "residual":
            add = lambda x, y: x + y if x.shape == y.shape else y
            return map_ways(add, below, out)
        if self.skip == "dense" and n < len(self.cells) - 1:
            join = lambda x, y: jnp.concatenate([x, y], axis=-1)
            return map_ways(join, below, out)
        return out

    def _entries(self, layers, groups):
        """One entry a layer, or one a group of equal layers if stacked."""
        if not self.stacked:
            return tuple(layers)
        layers = iter(layers)
        take = lambda count: [*itertools.islice(layers, count)]
        return tuple(
            next(layers) if count == 1 else stack_trees(take(count))
            for _, count in groups
        )

    def by_layer(self, in_size: int, entries: Sequence[Any]) -> tuple[Any, ...]:
        """One entry a layer of parameters or carries, also if they come ``stacked``."""
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
            one = "one a group of equal layers" if self.stacked else "one a layer"
            raise ValueError(
                f"{name} has {len(entries)} entries, expected {count}, {one}"
                f"{'' if name == 'params' else '; pass None for zeros'}."
            )
        self._check_directions(name, entries)
        return entries

    def _check_directions(self, name, entries):
        """Every entry is one direction's or both's; ``None`` is zeros in either."""
        given = [e for e in entries if e is not None]
        two = two_directions(name, given)
        if given and two != self.bidirectional:
            has, wanted = ("two", "one") if two else ("one", "two")
            raise ValueError(
                f"{name} is of layers in {has} direction{'s' if two else ''}, expected "
                f"{wanted}, since bidirectional={self.bidirectional}."
            )


def _spread(cell, carry, xs):
    """A carry without batch axes, over all rows; others as they are."""
    zeros = lambda *shape: cell.zero_carry(shape, xs.dtype)
    one, rows = jax.eval_shape(lambda: (zeros(), zeros(*xs.shape[1:-1])))
    shapes = functools.partial(jax.tree.map, jnp.shape)
    if carry is None or shapes(carry) != shapes(one):
        return carry
    to = lambda x, like: jnp.broadcast_to(x, like.shape).astype(like.dtype)
    return jax.tree.map(to, carry, rows)
