"""A kernel as three primitives that work with every transformation of JAX.

Each of ``forward``, ``tangent`` and ``backward`` is the derivative or the transpose of
another. The kernel has ``forward`` and ``backward``. Its `Kernel.scans` have all three.
"""

from jax.extend.core import Primitive

from lstm_jax.kernels.lstm import differentiation, lowering, mapping
from lstm_jax.kernels.lstm.binding import Primitives
from lstm_jax.kernels.lstm.kernel import Kernel


def primitives_of(kernel: Kernel) -> Primitives:
    """The primitives of a kernel, registered with JAX. To be called once for each."""
    names = ("forward", "tangent", "backward")
    primitives = Primitives(kernel, *(_primitive(kernel, name) for name in names))
    lowering.register(primitives)
    differentiation.register(primitives)
    mapping.register(primitives)
    return primitives


def _primitive(kernel, name):
    primitive = Primitive(f"{kernel.name}_{name}")
    primitive.multiple_results = True
    return primitive
