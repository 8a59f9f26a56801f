"""An error names the argument, what came, what was expected and what to do."""

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import lstm_jax
from lstm_jax import LSTMCarry, LSTMCell, LSTMParams, RNNCell, Stack
from tests import cells
from tests.shapes import B, D, H, T

PARAMS = lstm_jax.init_lstm(jax.random.key(0), D, H)
XS = jnp.zeros((T, B, D))
ZEROS = jnp.zeros((B, H))
CARRY = LSTMCarry(ZEROS, ZEROS)
FLAGS = jnp.ones((T, B), bool)
NARROW = LSTMCarry(ZEROS.astype(jnp.bfloat16), ZEROS)

CASES = {
    "feature size": (
        dict(xs=jnp.zeros((T, B, 3))),
        ValueError,
        ["xs has 3 features but params.w_x takes 4", "(6, 3, 3)", "in_size=3"],
    ),
    "no features": (
        dict(xs=jnp.zeros((T, B, 0))),
        ValueError,
        ["xs has 0 features", "4"],
    ),
    "integer inputs": (
        dict(xs=jnp.zeros((T, B, D), int)),
        TypeError,
        ["xs has dtype int32", "floating", "one-hot", "astype"],
    ),
    "Python integers": (dict(xs=[[1, 2]]), TypeError, ["xs has dtype int32"]),
    "one axis": (
        dict(xs=jnp.zeros(D)),
        ValueError,
        ["xs has shape (4,)", "[T, ..., D]", "xs[None]"],
    ),
    "carry shape": (
        dict(carry=LSTMCarry(ZEROS, ZEROS[:2])),
        ValueError,
        ["carry.c has shape (2, 5)", "(3, 5)", "hidden_size=5", "None"],
    ),
    "carry without batch": (
        dict(carry=LSTMCarry(ZEROS[0], ZEROS[0])),
        ValueError,
        ["carry.h has shape (5,)", "(3, 5)", "batch axes"],
    ),
    "carry dtype": (
        dict(carry=NARROW),
        TypeError,
        ["carry.h has dtype bfloat16", "float32", "cast it"],
    ),
    "carry of integers": (
        dict(carry=LSTMCarry(ZEROS, ZEROS.astype(int))),
        TypeError,
        ["carry.c has dtype int32", "expected float32"],
    ),
    "carry type": (
        dict(carry=(ZEROS, ZEROS)),
        TypeError,
        ["carry is tuple", "LSTMCarry(h, c)", "None for zeros"],
    ),
    "carry for a compute dtype": (
        dict(carry=CARRY, dtype=jnp.bfloat16),
        TypeError,
        ["carry.h has dtype float32", "expected bfloat16", "compute dtype bfloat16"],
    ),
    "compute dtype": (
        dict(dtype=jnp.int32),
        TypeError,
        ["dtype is int32", "floating", "jnp.bfloat16"],
    ),
    "mask and lengths": (
        dict(mask=FLAGS, lengths=[1] * B),
        ValueError,
        ["lengths and mask are both given", "expected one", "combine"],
    ),
    "mask dtype": (
        dict(mask=FLAGS.astype(jnp.float32)),
        TypeError,
        ["mask has dtype float32", "expected bool", "mask != 0"],
    ),
    "mask shape": (
        dict(mask=FLAGS.T),
        ValueError,
        [
            "mask has shape (3, 6)",
            "(6, 3)",
            "in this order",
            "jnp.moveaxis(mask, -1, 0)",
        ],
    ),
    "mask of steps alone": (
        dict(mask=FLAGS[:, 0]),
        ValueError,
        ["mask has shape (6,)", "jnp.broadcast_to(mask[:, None], (6, 3))"],
    ),
    "mask of rows alone": (
        dict(mask=FLAGS[0]),
        ValueError,
        ["mask has shape (3,), expected (6, 3)", "one flag for every step"],
    ),
    "resets dtype": (
        dict(resets=FLAGS.astype(int)),
        TypeError,
        ["resets has dtype int32", "expected bool"],
    ),
    "resets shape": (
        dict(resets=FLAGS[:, 0]),
        ValueError,
        ["resets has shape (6,)", "(6, 3)"],
    ),
    "reset_carry alone": (
        dict(reset_carry=CARRY),
        ValueError,
        ["reset_carry is given without resets", "resets [T, ...]"],
    ),
    "reset_carry shape": (
        dict(resets=FLAGS, reset_carry=LSTMCarry(ZEROS[:1], ZEROS[:1])),
        ValueError,
        ["reset_carry.h has shape (1, 5)", "(3, 5)", "reset_carry=None"],
    ),
    "lengths too long": (
        dict(lengths=[0, 1, T + 1]),
        ValueError,
        ["lengths runs from 0 to 7", "[0, 6]", "clip"],
    ),
    "lengths negative": (
        dict(lengths=np.array([-1, 1, 2])),
        ValueError,
        ["lengths runs from -1 to 2", "[0, 6]"],
    ),
    "lengths of floats": (
        dict(lengths=[1.0, 2.0, 3.0]),
        TypeError,
        ["lengths has dtype float64", "integers", "mask"],
    ),
    "lengths of booleans": (
        dict(lengths=FLAGS[0]),
        TypeError,
        ["lengths has dtype bool", "integers", "mask"],
    ),
    "lengths shape": (
        dict(lengths=[1, 2]),
        ValueError,
        ["lengths has shape (2,)", "(3,)", "one length for every row"],
    ),
    "implementation": (
        dict(implementation="scann"),
        ValueError,
        ["implementation is 'scann'", "None", "'plain'", "did you mean 'scan'"],
    ),
    "implementation nowhere near": (
        dict(implementation="xyz"),
        ValueError,
        ["implementation is 'xyz'", "expected one of None, 'scan', 'plain'"],
    ),
    "parameter shape": (
        dict(params=PARAMS._replace(b=jnp.zeros(H))),
        ValueError,
        ["params.b has shape (5,)", "(20,)", "hidden_size=5"],
    ),
    "stacked parameters": (
        dict(params=jax.tree.map(lambda p: jnp.stack([p, p]), PARAMS)),
        ValueError,
        ["params.w_", "jax.vmap"],
    ),
    "parameters of another cell": (
        dict(params=RNNCell(H).init(jax.random.key(0), D)),
        TypeError,
        ["params is RNNParams", "expected LSTMParams"],
    ),
    "parameters of no kind": (
        dict(params=PARAMS._asdict()),
        TypeError,
        ["params is dict", "expected LSTMParams"],
    ),
    "params restored raw": (
        dict(params=PARAMS._asdict()),
        TypeError,
        ["params is dict", "expected LSTMParams(w_x, w_h, b)", "LSTMParams(**params)"],
    ),
    "params in a list": (
        dict(params=list(PARAMS)),
        TypeError,
        ["params is list", "expected LSTMParams(w_x, w_h, b)", "LSTMParams(*params)"],
    ),
    "params of a stack": (
        dict(params=(PARAMS,)),
        TypeError,
        ["params is tuple", "the entry of one layer"],
    ),
}


@pytest.mark.parametrize(("wrong", "error", "parts"), CASES.values(), ids=CASES)
def test_message(wrong, error, parts):
    """Raised while tracing, so also under jit."""
    call = dict(params=PARAMS, carry=None, xs=XS) | wrong
    with pytest.raises(error) as raised:
        lstm_jax.lstm(**call)
    for part in parts:
        assert part in str(raised.value)


def test_step_messages():
    step = lstm_jax.lstm_step
    with pytest.raises(ValueError, match=r"x has 3 features but params.w_x takes 4"):
        step(PARAMS, None, jnp.zeros((B, 3)))
    with pytest.raises(
        ValueError, match=r"carry.h has shape \(3, 5\), expected \(5,\)"
    ):
        step(PARAMS, CARRY, jnp.zeros(D))
    with pytest.raises(TypeError, match="x has dtype int32"):
        step(PARAMS, CARRY, jnp.zeros(D, int))
    with pytest.raises(ValueError, match=r"x is a scalar, expected \[..., D\]"):
        step(PARAMS, CARRY, jnp.float32(1.0))


def test_errors_are_raised_under_jit():
    with pytest.raises(ValueError, match="xs has 3 features"):
        jax.jit(lstm_jax.lstm)(PARAMS, None, jnp.zeros((T, B, 3)))


def test_a_switch_that_equals_a_boolean_does_not_poison_later_calls():
    for wrong in (0, 1, 0.0, "no", None):
        with pytest.raises(TypeError, match=r"reverse is .*, expected True or False"):
            lstm_jax.lstm(PARAMS, None, XS[:5], reverse=wrong)
    lstm_jax.lstm(PARAMS, None, XS[:5])
    lstm_jax.lstm(PARAMS, None, XS[:5], reverse=np.True_)


SWITCHES = {
    "bidirectional": lambda on: lstm_jax.Stack([LSTMCell(H)], bidirectional=on),
    "locked": lambda on: lstm_jax.Stack([LSTMCell(H)], locked=on),
    "stacked": lambda on: lstm_jax.Stack([LSTMCell(H)], stacked=on),
    "per_gate": lambda on: lstm_jax.RecurrentDropout(LSTMCell(H), 0.5, per_gate=on),
    "projection_bias": lambda on: lstm_jax.LSTMPCell(H, 2, projection_bias=on),
}
SIZES = {
    "hidden_size": LSTMCell,
    "heads": lambda n: lstm_jax.SLSTMCell(H, heads=n),
    "rounds": lambda n: lstm_jax.MogrifierLSTMCell(H, rounds=n),
    "rank": lambda n: lstm_jax.MogrifierLSTMCell(H, rank=n),
    "projection_size": lambda n: lstm_jax.LSTMPCell(H, n),
    r"kernel.1.": lambda n: lstm_jax.ConvLSTMCell(H, kernel=(3, n)),
}


@pytest.mark.parametrize("name", SWITCHES)
def test_static_switches(name):
    with pytest.raises(TypeError, match=f"{name} is 1, expected True or False"):
        SWITCHES[name](1)


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("size", [True, 2.0, "2", -1])
def test_static_sizes(name, size):
    with pytest.raises(ValueError, match=f"{name} is {size!r}, expected an integer"):
        SIZES[name](size)


def test_a_traced_switch_is_told_to_be_static():
    run = jax.jit(lambda on: lstm_jax.lstm(PARAMS, None, XS, reverse=on))
    with pytest.raises(TypeError, match=r"static_argnames='reverse'"):
        run(True)
    static = jax.jit(lstm_jax.lstm, static_argnames=("reverse",))
    static(PARAMS, None, XS, reverse=True)


@pytest.mark.parametrize("dtype", [jnp.int32, jnp.bool_, jnp.complex64])
@pytest.mark.parametrize("field", LSTMParams._fields)
def test_parameters_are_floating_point(field, dtype):
    wrong = PARAMS._replace(**{field: getattr(PARAMS, field).astype(dtype)})
    name = jnp.dtype(dtype).name
    advice = "take .real" if name == "complex64" else r"\.astype\(jnp.float32\)"
    message = rf"params.{field} has dtype {name}, .*{advice}"
    with pytest.raises(TypeError, match=message):
        lstm_jax.lstm(wrong, None, XS)
    with pytest.raises(TypeError, match=message):
        lstm_jax.lstm_step(wrong, None, XS[0])


def test_parameters_are_drawn_in_floating_point():
    with pytest.raises(TypeError, match="dtype is int32, expected a floating-point"):
        lstm_jax.init_lstm(jax.random.key(0), D, H, dtype=jnp.int32)


@pytest.mark.usefixtures("x64")
@pytest.mark.parametrize("implementation", ["scan", None])
@pytest.mark.parametrize(
    ("dtype", "lengths"),
    [
        ("uint32", [2**31, 2**32 - 1, 0]),
        ("int64", [2**32, 2**40 + 1, -(2**40)]),
        ("uint64", [2**32, 2**63, 0]),
        ("int8", [127, 127, -128]),
        ("uint8", [255, 255, 0]),
    ],
)
def test_lengths_are_clipped_before_they_are_narrowed(dtype, lengths, implementation):
    xs = jnp.ones((T, B, D), jnp.float32)
    run = lambda n: lstm_jax.lstm(
        PARAMS, None, xs, lengths=n, implementation=implementation
    )
    got = jax.jit(run)(jnp.array(np.array(lengths, dtype)))
    assert jax.tree.all(jax.tree.map(np.allclose, got, run([T, T, 0])))


def test_lists_of_traced_lengths():
    xs = jnp.ones_like(XS)
    want = lstm_jax.lstm(PARAMS, None, xs, lengths=[6, 3, 2])
    for lengths in ([6, 3, 2], (6, 3, 2)):
        got = jax.jit(lstm_jax.lstm)(PARAMS, None, xs, lengths=lengths)
        assert jax.tree.all(jax.tree.map(np.allclose, got, want))


@pytest.mark.parametrize("jit", [False, True], ids=["eager", "jit"])
def test_lengths_of_jax_arrays_are_clipped(jit):
    """Their values are unknown while tracing, so jit or not they never raise."""
    xs = jnp.ones_like(XS)
    run = lambda n: lstm_jax.lstm(PARAMS, None, xs, lengths=n)
    got = (jax.jit(run) if jit else run)(jnp.array([-3, 1, T + 9]))
    want = run([0, 1, T])
    assert jax.tree.all(jax.tree.map(np.allclose, got, want))


def test_lengths_of_an_empty_batch():
    """An empty list is a list of integers."""
    _, hs = lstm_jax.lstm(PARAMS, None, XS[:, :0], lengths=[])
    assert hs.shape == (T, 0, H)


def test_unroll_names_the_parameters_it_expects():
    with pytest.raises(TypeError, match="params is LSTMParams, expected RNNParams"):
        lstm_jax.unroll(RNNCell(H), PARAMS, None, XS)
    with pytest.raises(
        ValueError, match=r"params.w_x has shape \(4, 20\).*hidden_size"
    ):
        lstm_jax.unroll(LSTMCell(H + 1), PARAMS, None, XS)


def test_from_gates_names_the_odd_one_out():
    gates = PARAMS.to_gates()
    for name, bad, shape in [
        ("W_f", jnp.zeros((H, H)), (H, H + D)),
        ("W_o", jnp.zeros((H + D, H)), (H, H + D)),
        ("b_C", jnp.zeros((H, 1)), (H,)),
    ]:
        with pytest.raises(ValueError, match="has shape") as raised:
            LSTMParams.from_gates(**gates | {name: bad})
        for part in (
            f"{name} has shape {bad.shape}",
            f"expected {shape}",
            "[H, H + D]",
        ):
            assert part in str(raised.value)


@pytest.mark.parametrize("bad", [jnp.zeros(H), jnp.zeros((H, H - 1))])
def test_from_gates_checks_the_first_matrix_too(bad):
    """The matrix that the others are compared with may be the wrong one."""
    gates = PARAMS.to_gates() | {f"W_{n}": bad for n in "ifCo"}
    with pytest.raises(ValueError, match=r"W_i has shape .*\[H, H \+ D\]"):
        LSTMParams.from_gates(**gates)


ONE_ENTRY = {
    "a layer": (PARAMS, "params is LSTMParams, expected a list, one entry per layer"),
    "a dict": ({"w": PARAMS}, r"such as \[LSTMParams\(\*\*first\), ...\]"),
}


@pytest.mark.parametrize("run", [lstm_jax.lstm_stack, Stack([LSTMCell(H)])])
@pytest.mark.parametrize(("params", "message"), ONE_ENTRY.values(), ids=ONE_ENTRY)
def test_a_stack_takes_a_list(run, params, message):
    with pytest.raises(TypeError, match=message):
        run(params, None, XS)


def test_an_old_name_leads_to_the_new_one():
    for run in (lstm_jax.lstm_stack, Stack([LSTMCell(H)])):
        with pytest.raises(TypeError, match="reset_carries is now called reset_carry"):
            run([PARAMS], None, XS, resets=FLAGS, reset_carries=None)
    with pytest.raises(TypeError, match="plain is now called implementation"):
        lstm_jax.unroll(LSTMCell(H), PARAMS, None, XS, plain=True)


@pytest.mark.parametrize("size", [0, -1, None, True, 3.0], ids=str)
@pytest.mark.parametrize("name", cells.CELLS)
def test_in_size_is_a_size(name, size):
    cell, key = cells.CELLS[name], jax.random.key(0)
    for init in (cell.init, Stack([cell]).init):
        with pytest.raises(ValueError, match=f"in_size is {size!r}, expected an int"):
            init(key, size)


TRACED = {
    "reverse": (lstm_jax.lstm, (PARAMS, None, XS), dict(reverse=True)),
    "remat": (lstm_jax.lstm, (PARAMS, None, XS), dict(remat=2)),
    "dropout": (lstm_jax.lstm_stack, ([PARAMS] * 2, None, XS), dict(dropout=0.5)),
    "rate": (lstm_jax.dropout, (jax.random.key(0), XS), dict(rate=0.5)),
}


@pytest.mark.parametrize("name", TRACED)
def test_a_traced_option_and_the_advice(name):
    function, args, option = TRACED[name]
    if name == "dropout":
        args = ([PARAMS, PARAMS._replace(w_x=jnp.ones((H, 4 * H)))], *args[1:])
    with pytest.raises(TypeError, match=f"{name} is traced.*static_argnames='{name}'"):
        jax.jit(function)(*args, **option)
    jax.jit(function, static_argnames=name)(*args, **option)
    jax.jit(functools.partial(function, **option))(*args)


def test_the_advice_for_flags():
    """With as many rows as steps, ``jnp.broadcast_to`` alone takes the wrong axis."""
    run = functools.partial(lstm_jax.lstm, PARAMS, None)
    square, steps = jax.random.normal(jax.random.key(0), (T, T, D)), jnp.arange(T) < 4
    with pytest.raises(ValueError, match=r"pass jnp.broadcast_to\(mask\[:, None\], "):
        run(square, mask=steps)
    _, got = run(square, mask=jnp.broadcast_to(steps[:, None], (T, T)))
    np.testing.assert_array_equal(got, run(square, lengths=[4] * T)[1])
    rows = jnp.moveaxis(jnp.broadcast_to(steps, (B, T)), -1, 0)
    _, got = run(square[:, :B], mask=rows)
    np.testing.assert_array_equal(got, run(square[:, :B], lengths=[4] * B)[1])


def test_symbolic_shapes_export_by_default():
    t, b = jax.export.symbolic_shape("t, b")
    xs = jax.ShapeDtypeStruct((t, b, D), jnp.float32)
    run = jax.jit(lambda xs: lstm_jax.lstm(PARAMS, None, xs)[1])
    got = jax.export.export(run)(xs).call(XS)
    np.testing.assert_allclose(got, run(XS), atol=1e-6)


@pytest.mark.parametrize(
    "start", [1.5, True, -1, 2**31, jnp.ones(3, int), None], ids=str
)
def test_start_is_a_step(start):
    key, cell = jax.random.key(0), lstm_jax.Zoneout(LSTMCell(H), h=0.1)
    for run in (
        lambda: lstm_jax.unroll(cell, PARAMS, None, XS, key=key, start=start),
        lambda: lstm_jax.dropout(key, XS, 0.5, start),
        lambda: Stack([cell])([PARAMS], None, XS, key=key, start=start),
    ):
        with pytest.raises(ValueError, match=r"start is .*, expected one integer"):
            run()


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "key is None, expected one key"),
        (
            jax.random.split(jax.random.key(0), 2),
            r"key is of shape \(2,\), expected one",
        ),
        (0, "key is int, expected a typed key"),
    ],
    ids=["none", "two", "a number"],
)
def test_one_key_is_expected(key, message):
    functions = [
        lambda: lstm_jax.init_lstm(key, D, H),
        lambda: Stack([LSTMCell(H)]).init(key, D),
        lambda: lstm_jax.dropout(key, XS, 0.5),
        lambda: lstm_jax.variational_dropout(key, XS, 0.5),
        lambda: lstm_jax.embedding_dropout(key, XS[0], 0.5),
        lambda: lstm_jax.weight_drop(key, [PARAMS], 0.5),
    ]
    if key is not None:
        cell = lstm_jax.Zoneout(LSTMCell(H), h=0.1)
        functions.append(lambda: lstm_jax.unroll(cell, PARAMS, None, XS, key=key))
    for run in functions:
        with pytest.raises((TypeError, ValueError), match=message):
            run()


def test_a_list_is_no_array():
    with pytest.raises(ValueError, match=r"params.b is a list or tuple, .*jnp.asarray"):
        lstm_jax.lstm(PARAMS._replace(b=[0.0] * (4 * H)), None, XS)


@pytest.mark.parametrize("clip", [True, "3", -1.0])
def test_clips(clip):
    for make in (
        lambda: lstm_jax.LSTMPCell(H, 2, projection_clip=clip),
        lambda: lstm_jax.Activations(clip=clip),
        lambda: lstm_jax.Activations(cell_clip=clip),
    ):
        with pytest.raises(ValueError, match=r"clip is .*, expected a positive num"):
            make()
