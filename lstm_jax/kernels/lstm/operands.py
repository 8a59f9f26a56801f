"""The operands and the outputs of the recurrence, and their batch axes."""

from typing import NamedTuple

from lstm_jax._types import Array, Bool, Float


class Operands(NamedTuple):
    """The operands of the recurrence. Flags that were not given are ``None``."""

    xs: Float[Array, "T *B D"]
    w_x: Float[Array, "D 4H"]
    w_h: Float[Array, "H 4H"]
    b: Float[Array, "4H"]
    h0: Float[Array, "*B H"]
    c0: Float[Array, "*B H"]
    mask: Bool[Array, "T *B"] | None
    resets: Bool[Array, "T *B"] | None
    reset_h: Float[Array, "*B H"] | None
    reset_c: Float[Array, "*B H"] | None

    @property
    def flagged(self) -> bool:
        """Whether steps may be masked or reset."""
        return self.mask is not None or self.resets is not None


class Outputs(NamedTuple):
    """The outputs of all steps, and the state after the last step."""

    hs: Float[Array, "T *B H"]
    h: Float[Array, "*B H"]
    c: Float[Array, "*B H"]


# The index at which the batch axes of each array start. Weights have none.
OPERAND_AXES = Operands._make([1, None, None, None, 0, 0, 1, 1, 0, 0])
OUTPUT_AXES = Outputs._make([1, 0, 0])
WEIGHTS = ("w_x", "w_h", "b")


def gradient_axes(names) -> dict[str, int]:
    """The same for gradients. Gradients by weights start with the groups."""
    axes = OPERAND_AXES._asdict()
    return {name: axes[name] or 0 for name in names}
