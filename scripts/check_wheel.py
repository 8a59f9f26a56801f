"""The installed wheel: its kernel computes what the scan does, and it has configs."""

from pathlib import Path

import jax
import jax.numpy as jnp

import lstm_jax
from lstm_jax import init_lstm, lstm
from lstm_jax.runs.shipped import shipped, shipped_folder

params, xs = init_lstm(jax.random.key(0), 3, 5), jnp.ones((7, 2, 3))
native, scan = (lstm(params, None, xs, implementation=n)[1] for n in ("native", "scan"))
assert jnp.allclose(native, scan, atol=1e-6), abs(native - scan).max()

# The configs are in the package itself, not only in a checkout.
assert "quickstart" in shipped(), shipped_folder()
assert shipped_folder().parent == Path(lstm_jax.__file__).parent, shipped_folder()
