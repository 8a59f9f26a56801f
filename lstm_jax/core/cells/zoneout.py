"""Zoneout: units that keep their state at random.

    d_t ~ Bernoulli(rate), a number for each unit and step
    c_t = d_t * c_{t-1} + (1 - d_t) * c~_t        h_t likewise, with its own masks

where ``c~_t`` and ``h~_t`` are the new states of the inner cell; ``h~_t`` is computed
from ``c~_t``. In evaluation ``d_t`` is its expectation, the rate.

Krueger et al., "Zoneout: Regularizing RNNs by Randomly Preserving Hidden Activations",
ICLR 2017.
"""

import dataclasses

import jax
import jax.numpy as jnp

from lstm_jax.core.arguments import check_rate
from lstm_jax.core.cells.cell import Noise
from lstm_jax.core.cells.wrapper import Wrapper, state_fields
from lstm_jax.core.dropout import keep_masks


@dataclasses.dataclass(frozen=True)
class Zoneout(Wrapper):
    """Zoneout around a cell whose state is ``h``, or ``h`` and ``c``.

    Args:
        cell: the cell inside.
        h, c: the zoneout rate of each state: the probability that a unit keeps its old
            value. The paper's language models use 0.05 and 0.5.

    Raises:
        ValueError: a rate is outside ``[0, 1)``, or zoneout is not defined for the
            states of the cell.

    >>> import jax, jax.numpy as jnp
    >>> from lstm_jax import LSTMCell, Zoneout, unroll
    >>> cell = Zoneout(LSTMCell(5), h=0.05, c=0.5)
    >>> params = cell.init(jax.random.key(0), in_size=3)
    >>> xs, key = jnp.ones((7, 2, 3)), jax.random.key(1)
    >>> carry, hs = unroll(cell, params, None, xs, key=key)
    >>> hs.shape
    (7, 2, 5)
    """

    h: float = 0.0
    c: float = 0.0

    def __post_init__(self):
        super().__post_init__()
        check_rate("Zoneout h", self.h)
        check_rate("Zoneout c", self.c)
        fields = state_fields(self.cell)
        if fields not in (("h",), ("h", "c")):
            raise ValueError(
                f"the carry of {type(self.cell).__name__} has the fields "
                f"({', '.join(fields)}), expected h, or h and c."
            )
        if self.c and "c" not in fields:
            raise ValueError(
                f"Zoneout c is {self.c} but {type(self.cell).__name__} has no c; "
                f"set h alone."
            )

    def _rates(self, carry):
        return {name: getattr(self, name) for name in carry._fields}

    def masks(self, key, steps, batch_shape, dtype):
        carry = jax.eval_shape(lambda: self.cell.zero_carry(batch_shape, dtype))
        new = {
            name: keep_masks(jax.random.fold_in(key, n), steps, rate, state.shape)
            for n, (state, (name, rate)) in enumerate(
                zip(carry, self._rates(carry).items(), strict=True)
            )
            if rate > 0
        }
        return Noise(locked=None, stepwise=new)

    def wrapped_step(self, masks, step, params, carry, gx, dot, gates):
        stepped, _ = step(params, carry, gx, dot, gates)
        _, new = masks or (None, None)

        def state(name, rate):
            old, fresh = getattr(carry, name), getattr(stepped, name)
            if rate == 0:
                return fresh
            if new is None:
                rate = jnp.asarray(rate, fresh.dtype)
                return rate * old + (1 - rate) * fresh
            return jnp.where(new[name], fresh, old)

        zoned = type(carry)(*(state(*item) for item in self._rates(carry).items()))
        return zoned, zoned.h
