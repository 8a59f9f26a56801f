"""The kernel as primitives of JAX."""

from lstm_jax.kernels.cpu import calls
from lstm_jax.kernels.lstm import residuals, scans
from lstm_jax.kernels.lstm.kernel import Kernel
from lstm_jax.kernels.lstm.operands import WEIGHTS
from lstm_jax.kernels.lstm.primitives import primitives_of


def _backward(at, kept, d_out, *, wrt, reverse, groups):
    """The kernel sums gradients by weights over all rows. If groups of rows have their
    own weights, these gradients are products outside.
    """
    inside = tuple(name for name in wrt if not (groups and name in WEIGHTS))
    gradients = calls.backward(at, kept, d_out, wrt=inside, reverse=reverse)
    dz = gradients.pop("z")
    if groups:
        gradients |= residuals.weight_gradients(
            at, kept.hs, dz, wrt, reverse=reverse, groups=groups
        )
    return {name: gradients[name].astype(getattr(at, name).dtype) for name in wrt}


PRIMITIVES = primitives_of(
    Kernel(
        name="lstm_jax",
        platforms=("cpu",),
        forward=calls.forward,
        backward=_backward,
        scans=scans.SCANS,
        residuals=residuals.zero_residuals,
        residual_axes=residuals.RESIDUAL_AXES,
    )
)
