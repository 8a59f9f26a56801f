"""The same numbers and gradients as torch, in float64; in float32 none worse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax import nnx

import lstm_jax
from lstm_jax import linen, nn
from lstm_jax.interop import from_torch
from tests import cells, reference
from tests.core.test_cell_oracles import gru_step, projection_step
from tests.shapes import B, D, H, T

pytestmark = pytest.mark.usefixtures("x64")

TOLERANCE = 1e-11
STACKS = [(1, False), (1, True), (2, False), (3, True)]
IDS = [f"{n} layers {'two ways' if two else 'one way'}" for n, two in STACKS]


def make_torch(layers, bidirectional):
    torch.manual_seed(0)
    model = torch.nn.LSTM(
        D, H, layers, bidirectional=bidirectional, dtype=torch.float64
    )
    ways = layers * (2 if bidirectional else 1)
    rng = np.random.default_rng(0)
    xs, h, c = (
        torch.tensor(rng.normal(size=shape), requires_grad=True)
        for shape in [(T, B, D), (ways, B, H), (ways, B, H)]
    )
    return model, xs, h, c


def array(tensor):
    return jnp.asarray(tensor.detach().numpy())


def by_layer(entries, layers):
    """A flat list, layer after layer and way after way, in the stack's form."""
    if len(entries) == layers:
        return tuple(entries)
    pairs = zip(entries[::2], entries[1::2], strict=True)
    return tuple(lstm_jax.Bidirectional(*pair) for pair in pairs)


def params_of(model, read):
    """Torch's gates have our order, its weights are ours transposed."""
    entries = []
    for layer in range(model.num_layers):
        for way in ("", "_reverse") if model.bidirectional else ("",):
            w_x, w_h, b_x, b_h = (
                read(getattr(model, f"{name}_l{layer}{way}"))
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            entries.append((w_x.T, w_h.T, b_x, b_h))
    return entries


def ours(model, h, c):
    params = [
        lstm_jax.LSTMParams(w_x, w_h, b_x + b_h)
        for w_x, w_h, b_x, b_h in params_of(model, array)
    ]
    assert all(np.all(p.b != 0) for p in params)
    carries = list(map(lstm_jax.LSTMCarry, array(h), array(c)))
    return by_layer(params, model.num_layers), by_layer(carries, model.num_layers)


@pytest.mark.parametrize(("layers", "bidirectional"), STACKS, ids=IDS)
def test_values_and_gradients(layers, bidirectional):
    """Outputs, final states, and gradients by weights, inputs and initial state."""
    model, xs, h, c = make_torch(layers, bidirectional)
    params, carries = ours(model, h, c)
    out, (h_n, c_n) = model(xs, (h, c))
    rng = np.random.default_rng(1)
    d_out, d_h, d_c = (rng.normal(size=x.shape) for x in (out, h_n, c_n))
    torch.autograd.backward([out, h_n, c_n], list(map(torch.tensor, (d_out, d_h, d_c))))

    @jax.jit
    def both(params, carries, xs, d):
        outputs, pullback = jax.vjp(lstm_jax.lstm_stack, params, carries, xs)
        return outputs, pullback(d)

    pack = lambda h, c: by_layer(
        list(map(lstm_jax.LSTMCarry, jnp.asarray(h), jnp.asarray(c))), layers
    )
    (carries_n, hs), (d_params, d_carries, d_xs) = both(
        params, carries, array(xs), (pack(d_h, d_c), jnp.asarray(d_out))
    )
    cells.assert_close(hs, array(out), TOLERANCE)
    cells.assert_close(carries_n, pack(array(h_n), array(c_n)), TOLERANCE)
    cells.assert_close(d_xs, array(xs.grad), TOLERANCE)
    cells.assert_close(d_carries, pack(array(h.grad), array(c.grad)), TOLERANCE)
    wanted = params_of(model, lambda p: array(p.grad))
    for got, (w_x, w_h, b_x, b_h) in zip(
        jax.tree.leaves(d_params, is_leaf=lambda x: isinstance(x, lstm_jax.LSTMParams)),
        wanted,
        strict=True,
    ):
        cells.assert_close(got, lstm_jax.LSTMParams(w_x, w_h, b_x), TOLERANCE)
        cells.assert_close(got.b, b_h, TOLERANCE)


@pytest.mark.parametrize(("layers", "bidirectional"), STACKS, ids=IDS)
def test_weights_of_torch_in_flax_modules(layers, bidirectional):
    """Assigned to ``params``, or as variables of Linen."""
    model, xs, _, _ = make_torch(layers, bidirectional)
    want, _ = model(xs)
    params = from_torch(model)
    options = dict(num_layers=layers, bidirectional=bidirectional, time_major=True)
    module = nn.LSTM(D, H, param_dtype=jnp.float64, rngs=nnx.Rngs(0), **options)
    module.params = params
    cells.assert_close(module(array(xs)), array(want), TOLERANCE)
    module = linen.LSTM(hidden_size=H, **options)
    got = module.apply(module.as_variables(params), array(xs))
    cells.assert_close(got, array(want), TOLERANCE)


def test_packed_sequences():
    """Padded rows: torch's packed sequences, which take lengths from 1 on."""
    model, xs, h, c = make_torch(2, True)
    lengths = [T, 1, 4]
    packed = torch.nn.utils.rnn.pack_padded_sequence(xs, lengths, enforce_sorted=False)
    out, (h_n, c_n) = model(packed, (h, c))
    out, _ = torch.nn.utils.rnn.pad_packed_sequence(out)
    carries, hs = lstm_jax.lstm_stack(*ours(model, h, c), array(xs), lengths=lengths)
    cells.assert_close(hs, array(out), TOLERANCE)
    states = [way for layer in carries for way in layer]
    cells.assert_close([s.h for s in states], list(array(h_n)), TOLERANCE)
    cells.assert_close([s.c for s in states], list(array(c_n)), TOLERANCE)


def test_float32():
    """In float32 too, at torch's own default initial state, zeros."""
    model, xs, h, c = make_torch(1, False)
    params, _ = ours(model, h, c)
    params = jax.tree.map(lambda p: p.astype(jnp.float32), params)
    out, _ = model.float()(xs.float())
    _, hs = lstm_jax.lstm_stack(params, None, array(xs.float()))
    cells.assert_close(hs, array(out), cells.tolerance(jnp.float32))


def check_cell(cell, model, params_of_torch, state, type_of_carry):
    """One layer: outputs, final state, gradients by parameters and inputs.

    ``params_of_torch`` maps torch's tensors to our parameters; its transpose takes our
    gradients to torch's.
    """
    rng = np.random.default_rng(2)
    xs = torch.tensor(rng.normal(size=(T, B, D)), requires_grad=True)
    out, final = model(xs, state if len(state) > 1 else state[0])
    final = final if len(state) > 1 else (final,)
    weights = [torch.tensor(rng.normal(size=x.shape)) for x in (out, *final)]
    torch.autograd.backward([out, *final], weights)
    tensors = {name.removesuffix("_l0"): p for name, p in model.named_parameters()}

    @jax.jit
    def run(tensors, carry, xs):
        return lstm_jax.unroll(cell, params_of_torch(tensors), carry, xs)

    tensors, grads = (
        {name: read(p) for name, p in tensors.items()}
        for read in (array, lambda p: array(p.grad))
    )
    carry = type_of_carry(*(array(part)[0] for part in state))
    got, pullback = jax.vjp(run, tensors, carry, array(xs))
    want = type_of_carry(*(array(part)[0] for part in final)), array(out)
    cells.assert_close(got, want, TOLERANCE)
    d_out, *d_final = (array(w) for w in weights)
    d = pullback((type_of_carry(*(w[0] for w in d_final)), d_out))
    d_carry = type_of_carry(*(array(part.grad)[0] for part in state))
    cells.assert_close(d, (grads, d_carry, array(xs.grad)), TOLERANCE)


def random_state(*sizes):
    rng = np.random.default_rng(3)
    draw = lambda n: torch.tensor(rng.normal(size=(1, B, n)), requires_grad=True)
    return tuple(map(draw, sizes))


def test_gru():
    """Torch's candidate has two biases: one inside the reset, one outside."""
    torch.manual_seed(0)

    def params(t):
        both = t["bias_ih"] + t["bias_hh"]
        b = jnp.concatenate([both[: 2 * H], t["bias_ih"][2 * H :]])
        w_x, w_h = t["weight_ih"].T, t["weight_hh"].T
        return lstm_jax.GRUParams(w_x, w_h, b, t["bias_hh"][2 * H :])

    model = torch.nn.GRU(D, H, dtype=torch.float64)
    cell = lstm_jax.GRUCell(H)
    check_cell(cell, model, params, random_state(H), lstm_jax.GRUCarry)


def test_projection():
    torch.manual_seed(0)

    def params(t):
        w_x, w_h, w_hr = (t[f"weight_{name}"].T for name in ("ih", "hh", "hr"))
        return lstm_jax.LSTMPParams(w_x, w_h, t["bias_ih"] + t["bias_hh"], w_hr)

    model = torch.nn.LSTM(D, H, proj_size=2, dtype=torch.float64)
    cell = lstm_jax.LSTMPCell(H, 2)
    check_cell(cell, model, params, random_state(2, H), lstm_jax.LSTMCarry)


def gru_params(w_x, w_h, b_x, b_h):
    b = np.concatenate([b_x[: 2 * H] + b_h[: 2 * H], b_x[2 * H :]])
    return lstm_jax.GRUParams(w_x, w_h, b, b_h[2 * H :])


KINDS = {
    "LSTM": (lstm_jax.LSTMCell(H), reference.lstm_step),
    "projected LSTM": (lstm_jax.LSTMPCell(H, 2), projection_step),
    "GRU": (lstm_jax.GRUCell(H), gru_step),
    "RNN": (lstm_jax.RNNCell(H), reference.rnn_step),
}
"""One cell of ours, and one step of it in numpy."""

MAKE = {
    "GRU": gru_params,
    "RNN": lambda w_x, w_h, b_x, b_h: lstm_jax.RNNParams(w_x, w_h, b_x + b_h),
    "LSTM": lambda w_x, w_h, b_x, b_h: lstm_jax.LSTMParams(w_x, w_h, b_x + b_h),
    "projected LSTM": lambda w_x, w_h, b_x, b_h, w_hr: lstm_jax.LSTMPParams(
        w_x, w_h, b_x + b_h, w_hr
    ),
}
"""Our parameters from torch's tensors of one layer and way, the weights transposed."""

SWEEP = [
    (kind, layers, two_ways)
    for kind, most in {"LSTM": 3, "projected LSTM": 3, "GRU": 2, "RNN": 2}.items()
    for layers in range(1, most + 1)
    for two_ways in (False, True)
]
CASES, STEPS = 5, 40


def random_stack(kind, layers, two_ways, rng):
    """In float32: torch's, with weights U(-1/sqrt(H), 1/sqrt(H)) and biases U(-1, 1),
    and ours, layer after layer and way after way."""
    name = kind.removeprefix("projected ")
    size = dict(proj_size=2) if name != kind else {}
    model = getattr(torch.nn, name)(D, H, layers, bidirectional=two_ways, **size)
    entries = []
    for n in range(layers * (2 if two_ways else 1)):
        entry = []
        for tensor in model.all_weights[n]:
            scale = 1.0 if tensor.ndim == 1 else H**-0.5
            drawn = rng.uniform(-scale, scale, tensor.shape).astype(np.float32)
            tensor.data = torch.tensor(drawn)
            entry.append(drawn.T)
        entries.append(MAKE[kind](*entry))
    return model, entries


def run_oracle(step, entries, states, xs, layers):
    """All layers in float64: final states, flat, and the outputs of the last."""
    final, ways = [], len(entries) // layers
    for layer in range(layers):
        outputs = []
        for way in range(ways):
            n = layer * ways + way
            weights = jax.tree.leaves(entries[n])
            state, hs = reference.forward(
                step, weights, states[n], xs, reverse=bool(way)
            )
            final.append(state)
            outputs.append(hs)
        xs = np.concatenate(outputs, axis=-1)
    return final, xs


@functools.partial(jax.jit, static_argnums=0)
def run_stack(cell, params, carries, xs):
    two_ways = isinstance(params[0], lstm_jax.Bidirectional)
    stack = lstm_jax.Stack([cell] * len(params), bidirectional=two_ways)
    return stack(params, carries, xs)


def run_torch(model, states, xs):
    """Torch has all the states of a kind in one tensor, layers and ways in front."""
    parts = [torch.tensor(np.stack(part)) for part in zip(*states, strict=True)]
    with torch.no_grad():
        out, final = model(torch.tensor(xs), tuple(parts) if parts[1:] else parts[0])
    final = final if parts[1:] else (final,)
    return list(zip(*(part.numpy() for part in final), strict=True)), out.numpy()


@pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN")
@pytest.mark.parametrize(("kind", "layers", "two_ways"), SWEEP)
def test_as_close_to_float64_as_torch(kind, layers, two_ways):
    """Random stacks in float32, from a random state or from zeros."""
    (cell, step), number = KINDS[kind], SWEEP.index((kind, layers, two_ways))
    carry = cell.zero_carry((B,), jnp.float32)
    for seed in range(CASES):
        rng = np.random.default_rng(100 * number + seed)
        model, entries = random_stack(kind, layers, two_ways, rng)
        scale = 0.0 if seed == 0 else 1.0
        draw = lambda x, rng=rng, s=scale: rng.uniform(-s, s, x.shape).astype(x.dtype)
        states = [jax.tree.map(draw, carry) for _ in entries]
        xs = rng.normal(size=(STEPS, B, D)).astype(np.float32)
        exact = run_oracle(step, entries, states, xs, layers)
        params, carries = by_layer(entries, layers), by_layer(states, layers)
        mine = cells.largest_error(run_stack(cell, params, carries, xs), exact)
        peer = cells.largest_error(run_torch(model, states, xs), exact)
        assert peer < 1e-5, "the conversion is wrong"
        assert mine <= max(2e-6, 2 * peer)
