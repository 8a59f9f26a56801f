"""An NNX module whose arguments an editor can show."""

import inspect
from typing import Any

from flax import nnx


class Module(nnx.Module):
    """``nnx.Module``, with the arguments of its own ``__init__`` as its signature.

    The metaclass of Flax makes ``inspect.signature`` answer ``(*args, **kwargs)``, and
    a notebook shows that.

    >>> import inspect
    >>> from lstm_jax.nn import LSTMCell
    >>> list(inspect.signature(LSTMCell).parameters)[:2]
    ['in_size', 'hidden_size']
    """

    def __init_subclass__(cls, **options: Any):
        super().__init_subclass__(**options)
        own = inspect.signature(cls.__init__)
        _, *parameters = own.parameters.values()
        cls.__signature__ = own.replace(
            parameters=parameters, return_annotation=inspect.Signature.empty
        )
