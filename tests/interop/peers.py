"""Every framework with random weights, as it runs itself and as we read it.

A peer makes, from a random configuration, the parameters that our converter reads and a
function that runs the framework over the same inputs and states. Weights are
U(-1/sqrt(H), 1/sqrt(H)) and biases U(-1, 1), put there by the framework's own means.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from lstm_jax import Bidirectional
from lstm_jax.interop import from_carry, to_carry


class Config(NamedTuple):
    layers: int
    two_ways: bool
    D: int
    H: int
    P: int
    T: int
    B: int
    seed: int

    @property
    def ways(self):
        return 2 if self.two_ways else 1


class Built(NamedTuple):
    """Our parameters, one entry per layer; what the framework computes; the way back.

    ``run(xs, carries)`` takes and returns our carries, and outputs ``[T, B, ...]``.
    ``native`` are the framework's arrays and ``back`` those that we make of ours.
    """

    params: tuple
    run: Callable
    native: Any
    back: Any


class Peer(NamedTuple):
    build: Callable[[Config], Built]
    cell: str = "LSTM"
    transcription: bool = False
    two_biases: bool = False
    """The sum of two biases is kept, not each."""
    rounds: bool = False
    """A bias is added at run time, so that the way back rounds."""


def config(seed, fixed=None):
    """A random configuration; ``fixed`` sizes let tests share what is compiled."""
    rng = np.random.default_rng(seed)
    draw = lambda low, high: int(rng.integers(low, high + 1))
    H = draw(1, 12)
    sizes = dict(D=draw(1, 9), H=H, P=draw(1, H), T=draw(1, 20), B=draw(1, 4))
    return Config(draw(1, 3), bool(draw(0, 1)), seed=seed, **(fixed or sizes))


def random_like(tree, config):
    """Every array of a tree replaced by random numbers in float32."""
    rng = np.random.default_rng(config.seed)

    def draw(path, a):
        peephole = "'w" in jax.tree_util.keystr(path[-1:])  # wci, w_i_diag
        bias = np.ndim(a) == 1 and not peephole
        scale = 1.0 if bias else config.H**-0.5
        return rng.uniform(-scale, scale, np.shape(a)).astype(np.float32)

    return jax.tree.map_with_path(draw, tree)


def sizes_read(config, out):
    """Features that each layer and way reads."""
    return [
        config.D if layer == 0 else out * config.ways
        for layer in range(config.layers)
        for _ in range(config.ways)
    ]


def by_layer(entries, config):
    """A flat list of layers and ways as a stack has it."""
    if not config.two_ways:
        return tuple(entries)
    return tuple(map(Bidirectional, entries[::2], entries[1::2]))


def flat(entries):
    """The inverse."""
    return [
        way
        for entry in entries
        for way in (entry if isinstance(entry, Bidirectional) else (entry,))
    ]


def run_cells(steps, framework, cell, config):
    """A runner of one step a layer and way, ``step(state, x) -> (state, h)``.

    States go through `to_carry` and `from_carry`.
    """

    def run(xs, carries):
        final, n = [], 0
        for _ in range(config.layers):
            outputs = []
            for way in range(config.ways):
                state = to_carry(framework, flat(carries)[n])
                hs = [None] * len(xs)
                for t in reversed(range(len(xs))) if way else range(len(xs)):
                    state, hs[t] = steps[n](state, xs[t])
                final.append(from_carry(framework, state, cell=cell))
                outputs.append(np.stack(hs))
                n += 1
            xs = np.concatenate(outputs, axis=-1)
        return by_layer(final, config), xs

    return run


def joined(framework, cell, call, config):
    """A runner of all layers at once, states ``[layers * ways, B, H]``."""

    def run(xs, carries):
        ys, state = call(xs, to_carry(framework, carries))
        two = config.two_ways
        return from_carry(framework, state, cell=cell, bidirectional=two), ys

    return run


# torch


def torch_peer(kind, projected=False, bias=True):
    def build(config):
        import torch

        from lstm_jax.interop import from_torch, to_torch

        size = dict(proj_size=config.P) if projected and config.P < config.H else {}
        make = functools.partial(
            getattr(torch.nn, kind),
            *(config.D, config.H, config.layers),
            bidirectional=config.two_ways,
            bias=bias,
            **size,
        )
        module = make()
        drawn = random_like(
            {k: v.detach().numpy() for k, v in module.named_parameters()}, config
        )
        for name, parameter in module.named_parameters():
            parameter.data = torch.tensor(drawn[name])

        def call(xs, state):
            tensor = lambda a: torch.tensor(np.asarray(a))
            state = jax.tree.map(tensor, state)
            with torch.no_grad():
                ys, state = module(tensor(xs), state)
            return ys.numpy(), jax.tree.map(lambda s: s.numpy(), state)

        params = from_torch(module)
        assert jax.tree.all(
            jax.tree.map(np.array_equal, params, from_torch(drawn, cell=kind.lower()))
        )
        again = from_torch(to_torch(params, into=make()))
        assert jax.tree.all(jax.tree.map(np.array_equal, params, again))
        run = joined("torch", kind.lower(), call, config)
        return Built(params, run, drawn, to_torch(params))

    return build


def torch_cell(kind):
    def build(config):
        import torch

        from lstm_jax.interop import from_torch, to_torch

        config = config._replace(layers=1, two_ways=False)
        module = getattr(torch.nn, f"{kind}Cell")(config.D, config.H)
        drawn = random_like(
            {k: v.detach().numpy() for k, v in module.named_parameters()}, config
        )
        for name, parameter in module.named_parameters():
            parameter.data = torch.tensor(drawn[name])

        def step(state, x):
            state = jax.tree.map(lambda s: torch.tensor(np.asarray(s)), state)
            with torch.no_grad():
                state = module(torch.tensor(x), state)
            h = (state[0] if isinstance(state, tuple) else state).numpy()
            return jax.tree.map(lambda s: s.numpy(), state), h

        params = from_torch(module)
        # A torch cell's state is (h, c), which a Haiku cell's is too.
        run = run_cells([step], "equinox", kind.lower(), config)
        return Built((params,), run, drawn, to_torch(params))

    return build


# Keras


def keras_peer(kind, **options):
    def build(config):
        import keras

        from lstm_jax.interop import from_keras, to_keras

        def make():
            layer = lambda **also: getattr(keras.layers, kind)(
                config.H, return_sequences=True, return_state=True, **options, **also
            )
            layers = []
            for n in range(config.layers):
                one = layer()
                if config.two_ways:
                    one = keras.layers.Bidirectional(
                        one, backward_layer=layer(go_backwards=True)
                    )
                one.build((None, None, sizes_read(config, config.H)[n * config.ways]))
                layers.append(one)
            return layers

        layers = make()
        drawn = random_like([one.weights for one in layers], config)
        for one, weights in zip(layers, drawn, strict=True):
            one.set_weights(weights)

        def run(xs, carries):
            kinds, final = len(flat(carries)[0]), []
            ys = np.swapaxes(xs, 0, 1)
            for one, carry in zip(layers, carries, strict=True):
                state = [to_carry("keras", way) for way in flat([carry])]
                state = [jnp.asarray(a) for a in jax.tree.leaves(state)]
                ys, *out = one(ys, initial_state=state)
                final += [out[n : n + kinds] for n in range(0, len(out), kinds)]
            name = "lstm" if kinds == 2 else "gru"
            unpack = lambda out: out if kinds == 2 else out[0]
            final = [from_carry("keras", unpack(out), cell=name) for out in final]
            return by_layer(final, config), np.swapaxes(np.asarray(ys), 0, 1)

        params = from_keras(layers)
        again = from_keras(to_keras(params, into=make()))
        assert jax.tree.all(jax.tree.map(np.array_equal, params, again))
        names = ("kernel", "recurrent_kernel", "bias")
        native = [
            dict(zip(names, weights[n : n + 3], strict=True))
            for weights in drawn
            for n in range(0, len(weights), 3)
        ]
        return Built(params, run, native, flat(to_keras(params)))

    return build


# Flax, Haiku, Equinox


def cells_peer(framework, cell, make, read, write):
    """``make(config, D, seed)`` gives what ``read`` takes, its arrays, and a step."""

    def build(config):
        reads = sizes_read(config, config.H)
        made = [
            make(config._replace(seed=1000 * config.seed + n), D)
            for n, D in enumerate(reads)
        ]
        sources, natives, steps = zip(*made, strict=True)
        params = read(list(by_layer(list(sources), config)))
        run = run_cells(steps, framework, cell, config)
        back = list(flat(write(params)))
        return Built(params, run, list(natives), back)

    return build


def linen_cell(name):
    def make(config, D):
        from flax import linen

        cell = getattr(linen, name)(config.H)
        x = jnp.zeros((config.B, D))
        carry = cell.initialize_carry(jax.random.key(0), x.shape)
        shapes = jax.eval_shape(cell.init, jax.random.key(0), carry, x)
        variables = random_like(shapes, config)
        step = lambda state, x: cell.apply(variables, state, x)
        return variables, variables["params"], step

    return make


def nnx_cell(name):
    def make(config, D):
        from flax import nnx

        from lstm_jax.interop import from_nnx, to_nnx

        new = lambda: getattr(nnx, name)(D, config.H, rngs=nnx.Rngs(0))
        cell = new()
        drawn = random_like(nnx.to_pure_dict(nnx.state(cell, nnx.Param)), config)
        if name == "GRUCell":
            drawn["dense_i"]["bias"] *= np.float32(0.5)
        nnx.update(cell, nnx.State(drawn))
        params = from_nnx(cell)
        again = from_nnx(to_nnx(params, into=nnx.RNN(new(), rngs=nnx.Rngs(0))))
        assert jax.tree.all(jax.tree.map(np.array_equal, params, again))
        return cell, drawn, cell

    return make


def haiku_cell(name):
    def make(config, D):
        import haiku

        forward = haiku.without_apply_rng(
            haiku.transform(lambda x, state: getattr(haiku, name)(config.H)(x, state))
        )
        h = jnp.zeros((config.B, config.H))
        state = haiku.LSTMState(h, h) if name == "LSTM" else h
        x = jnp.zeros((config.B, D))
        variables = random_like(
            jax.eval_shape(forward.init, jax.random.key(0), x, state), config
        )

        def step(state, x):
            state = haiku.LSTMState(*state) if name == "LSTM" else state
            h, state = forward.apply(variables, x, state)
            return state, h

        return variables, variables, step

    return make


def equinox_cell(name, **options):
    def make(config, D):
        import equinox

        from lstm_jax.interop import from_equinox, to_equinox

        new = lambda: getattr(equinox.nn, name)(
            D, config.H, key=jax.random.key(0), **options
        )
        arrays, rest = equinox.partition(new(), equinox.is_array)
        cell = equinox.combine(random_like(arrays, config), rest)
        params = from_equinox(cell)
        again = from_equinox(to_equinox(params, into=new()))
        assert jax.tree.all(jax.tree.map(np.array_equal, params, again))

        def step(state, x):
            state = jax.vmap(cell)(jnp.asarray(x), state)
            return state, state[0] if isinstance(state, tuple) else state

        names = ("weight_ih", "weight_hh", "bias", "bias_n")
        native = {n: a for n in names if (a := getattr(cell, n, None)) is not None}
        return cell, native, step

    return make


def flax_peer(framework, name, cell):
    from lstm_jax import interop

    read, write = (getattr(interop, f"{way}_{framework}") for way in ("from", "to"))
    make = dict(linen=linen_cell, nnx=nnx_cell)[framework](name)
    if framework == "linen":
        read = functools.partial(read, cell=cell)
    if name == "LSTMCell" and framework == "nnx":
        write = functools.partial(write, layout="nnx")
    return cells_peer(framework, cell, make, read, write)


def haiku_peer(name, cell):
    from lstm_jax.interop import from_haiku, to_haiku

    read = lambda source: jax.tree.map(
        lambda one: from_haiku(one, cell=cell),
        tuple(source),
        is_leaf=lambda node: isinstance(node, dict),
    )
    write = lambda params: [to_haiku(way) for way in flat(params)]
    return cells_peer("haiku", cell, haiku_cell(name), read, write)


def equinox_peer(name, cell):
    from lstm_jax.interop import from_equinox, to_equinox

    return cells_peer("equinox", cell, equinox_cell(name), from_equinox, to_equinox)


# jax.experimental.rnn: its own lstm_ref, since the cuDNN call wants a GPU


def jax_rnn(config):
    from jax.experimental import rnn

    from lstm_jax.interop import from_jax_rnn, to_jax_rnn

    sizes = (config.D, config.H, config.layers, config.two_ways)
    count = rnn.get_num_params_in_lstm(*sizes)
    bound = config.H**-0.5
    rng = np.random.default_rng(config.seed)
    vector = rng.uniform(-bound, bound, count).astype(np.float32)
    weights = rnn.unpack_lstm_weights(jnp.asarray(vector), *sizes)

    def call(xs, state):
        lengths = jnp.full(config.B, len(xs), jnp.int32)
        h, c = map(jnp.asarray, state)
        ys, h, c = rnn.lstm_ref(
            jnp.swapaxes(xs, 0, 1), h, c, *weights, lengths, *sizes[:3], 0.0, sizes[3]
        )
        return np.swapaxes(ys, 0, 1), (h, c)

    params = from_jax_rnn(vector, *sizes)
    again = from_jax_rnn(to_jax_rnn(params), *sizes)
    assert jax.tree.all(jax.tree.map(np.array_equal, params, again))
    kernels = len(vector) - 8 * config.H * config.layers * config.ways
    run = joined("jax_rnn", "lstm", call, config)
    return Built(params, run, vector[:kernels], to_jax_rnn(params)[:kernels])


# ONNX, by onnxruntime


def onnx_peer(operator, cell, peepholes=False, **attributes):
    gates = 4 if operator == "LSTM" else 3

    def build(config):
        from lstm_jax.interop import from_onnx_arrays, to_onnx_arrays
        from tests.test_onnx_parity import run_onnx

        N, H = config.ways, config.H
        made = []
        for n, D in enumerate(sizes_read(config, H)[:: config.ways]):
            shapes = dict(
                W=(N, gates * H, D), R=(N, gates * H, H), B=(N, 2 * gates * H)
            )
            shapes |= dict(P=(N, 3 * H)) if peepholes else {}
            empty = {name: np.zeros(shape) for name, shape in shapes.items()}
            seed = 1000 * config.seed + n
            made.append(random_like(empty, config._replace(seed=seed)))
            if cell == "cifg":  # its own forget gate is not read, and not kept
                for name in ("W", "R"):
                    made[-1][name][:, 2 * H : 3 * H] = 0

        def run(xs, carries):
            final = []
            for given, carry in zip(made, carries, strict=True):
                names = ["initial_h", "initial_c"][: len(flat([carry])[0])]
                states = to_carry("onnx", [carry])
                states = states if len(names) > 1 else [states]
                states = dict(zip(names, map(np.asarray, states), strict=True))
                way = "bidirectional" if config.two_ways else "forward"
                outputs = ["Y", "Y_h", "Y_c"][: 1 + len(names)]
                Y, *state = run_onnx(
                    operator,
                    attributes | dict(direction=way),
                    given | states | dict(X=np.ascontiguousarray(xs)),
                    outputs,
                    H,
                )
                xs = np.moveaxis(Y, 1, -2).reshape(*xs.shape[:2], -1)
                kind = "lstm" if len(names) > 1 else "gru"
                state = state if len(names) > 1 else state[0]
                final += from_carry(
                    "onnx", state, cell=kind, bidirectional=config.two_ways
                )
            return tuple(final), xs

        params = tuple(from_onnx_arrays(**given, cell=cell) for given in made)
        back = [to_onnx_arrays(entry) for entry in params]
        return Built(params, run, made, back)

    return build


# TensorFlow 1 and haste: arrays of these shapes, and a step in numpy


def tf1_shapes(operator, H, P, peepholes, projected):
    blocks = operator in ("BlockLSTM", "BlockLSTMV2")
    w, b = ("w", "b") if blocks else ("kernel", "bias")
    diag = "wc{}" if blocks else "w_{}_diag"

    def shapes(D):
        found = {w: (D + (P if projected else H), 4 * H), b: (4 * H,)}
        if peepholes:
            found |= {diag.format(gate): (H,) for gate in "ifo"}
        return found | ({"projection/kernel": (H, P)} if projected else {})

    return shapes


def arrays_peer(framework, cell, shapes_of, step_of, read, write, projected=False):
    """Peers that are mere arrays: ``step(arrays, x, state)`` gives the state."""

    def build(config):
        from lstm_jax.interop import LAYOUTS

        P = config.P if projected else config.H
        made = []
        for n, D in enumerate(sizes_read(config, P)):
            empty = {k: np.zeros(s) for k, s in shapes_of(config.H, P)(D).items()}
            seed = config._replace(seed=1000 * config.seed + n)
            made.append(random_like(empty, seed))
        hidden = LAYOUTS[framework].carry.index("h")

        def step_with(arrays):
            def step(state, x):
                state = state if isinstance(state, tuple) else (state,)
                new = step_of(arrays, x, tuple(map(np.asarray, state)))
                return new if len(new) > 1 else new[0], new[hidden % len(new)]

            return step

        params = by_layer([read(arrays) for arrays in made], config)
        back = [write(way) for way in flat(params)]
        order = "tf1" if framework == "tf1" else "equinox"
        run = run_cells(list(map(step_with, made)), order, cell, config)
        return Built(params, run, made, back)

    return build


def tf1_peer(operator, step, peepholes=False, projected=False):
    from lstm_jax.interop import from_tf1, to_tf1

    return arrays_peer(
        "tf1",
        "lstm",
        lambda H, P: tf1_shapes(operator, H, P, peepholes, projected),
        step,
        lambda arrays: from_tf1(arrays, operator),
        lambda params: to_tf1(params, operator),
        projected,
    )


def haste_peer(kind, step):
    from lstm_jax.interop import from_haste, to_haste

    gates, cell = (3, "gru") if kind == "gru" else (4, "lstm")

    def shapes(H, P):
        n = gates * H
        own = {
            "gru": {"recurrent_bias": (n,)},
            "layer norm": {"gamma": (2, n), "gamma_h": (H,), "beta_h": (H,)},
        }.get(kind, {})
        return lambda D: {
            "kernel": (D, n),
            "recurrent_kernel": (H, n),
            "bias": (n,),
            **own,
        }

    read = lambda arrays: from_haste(arrays, cell=cell)
    return arrays_peer("haste", cell, shapes, step, read, to_haste)
