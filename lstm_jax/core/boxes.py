"""Initialisers that return an array in a box, with metadata such as its sharding.

`lstm_jax.core.init` concatenates arrays that the initialisers of single gates return.
This file removes the boxes first. A Flax module then puts each box on the finished
parameter.
"""

from collections.abc import Callable, Mapping
from typing import Any

FIELDS = {"forget_bias": ("b",), "w_h": ("w_h", "w_hn")}
"""Arguments of ``init`` whose name differs from the parameters they initialise."""


class Boxes:
    """Collects the boxes that initialisers return, by argument name.

    ``unbox`` returns ``(value, box)``, with ``None`` for a value without a box.
    """

    def __init__(self, unbox: Callable[[Any], tuple[Any, Any]]):
        self._unbox, self._of = unbox, {}

    def without(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of ``init``, with initialisers that return plain arrays."""
        return {name: self._plain(name, value) for name, value in options.items()}

    def _plain(self, name, initializer):
        if not callable(initializer):
            return initializer

        def init(*args):
            value, box = self._unbox(initializer(*args))
            if box is not None:
                self._of |= dict.fromkeys(FIELDS.get(name, (name,)), box)
            return value

        return init

    def of(self, field: str) -> Any:
        """The box of a parameter field, or ``None``."""
        return self._of.get(field)
