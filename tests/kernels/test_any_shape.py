"""The native kernel at shapes that hypothesis draws; a file of its own, so that the
others run where hypothesis is not installed."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax

from tests import cells
from tests.kernels.test_native import make_case, make_flags, value_and_grad


@hypothesis.settings(max_examples=12, deadline=None, derandomize=True)
@hypothesis.given(
    T=st.integers(1, 40),
    B=st.integers(1, 30),
    H=st.integers(1, 70),
    D=st.integers(1, 20),
    which=st.sampled_from(["", "mask", "mask, resets"]),
    reverse=st.booleans(),
)
def test_any_shape(T, B, H, D, which, reverse):
    """Against the scan in the same precision, which compiles faster."""
    at, flags = make_case(T, B, H, D), make_flags(which, T, B)
    f = functools.partial(value_and_grad, reverse=reverse)
    got, want = (
        jax.jit(functools.partial(f, kernel), compiler_options=cells.QUICK)(at, flags)
        for kernel in ("native", "scan")
    )
    cells.assert_close(got, want, 1e-5)
