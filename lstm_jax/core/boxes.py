"""Initialisers that return an array in a box, with facts such as its sharding.

`lstm_jax.core.init` joins what the initialisers of single gates return. The box is
taken off before, and a Flax module puts it on the parameter that comes of it.
"""

from collections.abc import Callable, Mapping
from typing import Any

FIELDS = {"forget_bias": ("b",), "w_h": ("w_h", "w_hn")}
"""Arguments of an ``init`` that draw fields of other names."""


class Boxes:
    """The boxes that initialisers returned, by the argument that named them.

    ``unbox`` returns ``(value, box)``, with ``None`` for a value without a box.
    """

    def __init__(self, unbox: Callable[[Any], tuple[Any, Any]]):
        self._unbox, self._of = unbox, {}

    def without(self, options: Mapping[str, Any]) -> dict[str, Any]:
        """Arguments of an ``init`` whose initialisers return plain arrays."""
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
        """The box of a field of the parameters, or ``None``."""
        return self._of.get(field)
