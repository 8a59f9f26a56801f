"""Convolutional LSTMs of Keras and Flax: their weights, their numbers, both ways."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import Bidirectional, ConvLSTMCell, unroll
from lstm_jax.interop import (
    InteropError,
    from_carry,
    from_keras,
    from_linen,
    load_stack,
    read_tensors,
    save_stack,
    stack_of,
    to_carry,
    to_keras,
    to_linen,
    write_tensors,
)
from lstm_jax.interop.files.weight_file import WeightFile
from tests.interop.test_keras_files import as_keras_likes

SPACE = (6, 7, 5)
KERNELS = {"1D": (3,), "2D": (3, 3), "2D, even": (2, 4), "3D": (3, 2, 3)}
BOUND = 2e-6


def drawn(shape, seed=0, scale=0.4):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * scale).astype(np.float32)


def keras_layer(kernel, **options):
    import keras

    make = getattr(keras.layers, f"ConvLSTM{len(kernel)}D")
    return make(4, kernel, padding="same", return_sequences=True, **options)


def built(layer, kernel):
    with as_keras_likes():
        layer.build((2, 5, *SPACE[: len(kernel)], 3))
        layer.set_weights(
            [drawn(w.shape, n) for n, w in enumerate(layer.get_weights())]
        )
    return layer


def run_keras(layer, xs):
    with as_keras_likes():
        return np.asarray(layer(np.moveaxis(xs, 0, 1))).swapaxes(0, 1)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@pytest.mark.parametrize("name", KERNELS)
def test_keras(name):
    kernel = KERNELS[name]
    layer = built(keras_layer(kernel), kernel)
    xs = drawn((5, 2, *SPACE[: len(kernel)], 3), 7, 1.0)
    params = from_keras(layer)
    stack = stack_of([params])
    assert stack.cells == (ConvLSTMCell(4, kernel),)
    ours = stack([params], None, xs)[1]
    np.testing.assert_allclose(ours, run_keras(layer, xs), atol=BOUND)
    again = to_keras(params, into=built(keras_layer(kernel), kernel))
    for got, wanted in zip(again.get_weights(), layer.get_weights(), strict=True):
        assert np.array_equal(got, wanted)
    weights = from_keras(layer.get_weights(), cell="conv_lstm")
    assert jax.tree.all(jax.tree.map(np.array_equal, weights, params))
    with pytest.raises(InteropError, match=r"expected \[D, 4H\]"):
        from_keras(layer.get_weights())


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_keras_in_two_directions():
    import keras

    kernel = (3,)
    layer = keras.layers.Bidirectional(keras_layer(kernel))
    layer = built(layer, kernel)
    xs, params = drawn((5, 2, 6, 3), 7, 1.0), from_keras(layer)
    assert isinstance(params, Bidirectional)
    ours = stack_of([params])([params], None, xs)[1]
    np.testing.assert_allclose(ours, run_keras(layer, xs), atol=BOUND)


@pytest.mark.parametrize("kernel", [(3,), (3, 2)])
def test_flax(kernel):
    """It adds 1 to the forget gate, and has a bias in both convolutions."""
    from flax import linen

    space = SPACE[: len(kernel)]
    cell = linen.ConvLSTMCell(4, kernel)
    carry = [drawn((2, *space, 4), n, 1.0) for n in range(2)]
    x = drawn((2, *space, 3), 3, 1.0)
    with as_keras_likes():
        shapes = jax.eval_shape(cell.init, jax.random.key(0), carry, x)
        variables = jax.tree.map(lambda a: drawn(a.shape, a.ndim), shapes)
        (c, h), y = cell.apply(variables, carry, x)
    params = from_linen(variables, cell="conv_lstm")
    start = from_carry("linen", carry, cell="conv_lstm")
    ours = unroll(ConvLSTMCell(4, kernel), params, start, jnp.asarray(x)[None])
    np.testing.assert_allclose(ours[1][0], y, atol=BOUND)
    for got, wanted in zip(to_carry("linen", ours[0]), (c, h), strict=True):
        np.testing.assert_allclose(got, wanted, atol=BOUND)
    back = from_linen(to_linen(params), cell="conv_lstm")
    for got, wanted in zip(back, params, strict=True):
        np.testing.assert_allclose(got, wanted, atol=2e-7)


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_files_and_folders(tmp_path):
    kernel = (3, 2)
    layer = built(keras_layer(kernel), kernel)
    params, names = from_keras(layer), ("kernel", "recurrent_kernel", "bias")
    tensors = dict(zip(names, layer.get_weights(), strict=True))
    write_tensors(tmp_path / "w.npz", {f"conv.{k}": a for k, a in tensors.items()})
    file = WeightFile(tmp_path / "w.npz")
    line = "keras.conv, ConvLSTM, 1 layer, 3 features, 4 units, kernel 3x2"
    assert file.lines() == [f"'conv.': {line}"]
    read = file.read(["conv."]).params
    assert jax.tree.all(jax.tree.map(np.array_equal, read, (params,)))
    save_stack(tmp_path / "run", read)
    stack, again = load_stack(tmp_path / "run")
    assert stack.cells == (ConvLSTMCell(4, kernel),)
    assert jax.tree.all(jax.tree.map(np.array_equal, again, (params,)))
    assert read_tensors(tmp_path / "run" / "weights.safetensors")["0.w_x"].ndim == 4
