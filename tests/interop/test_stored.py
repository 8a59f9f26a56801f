"""What a folder holds beside weights: activations, clips, states and lengths."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import (
    Activation,
    Activations,
    Bidirectional,
    CIFGLSTMCell,
    ConvLSTMCell,
    GRUCarry,
    GRUCell,
    LSTMCarry,
    LSTMCell,
    LSTMPCell,
    PeepholeLSTMCell,
    RNNCell,
    Stack,
)
from lstm_jax.interop import InteropError, load_stack, load_stored, save_stack

HARD = Activations(
    gate=Activation("hard_sigmoid", alpha=0.3, beta=0.1),
    candidate="relu",
    output=Activation("scaled_tanh", 1.5, 2 / 3),
    clip=0.7,
    cell_clip=3.0,
)
STACKS = {
    "lstm": Stack([LSTMCell(4, HARD), LSTMCell(4)]),
    "two directions": Stack([PeepholeLSTMCell(4, HARD)] * 2, bidirectional=True),
    "cifg": Stack([CIFGLSTMCell(4, HARD)]),
    "gru": Stack([GRUCell(4, Activations("hard_sigmoid", "elu", clip=2.0))] * 2),
    "rnn": Stack([RNNCell(4, Activations(candidate="relu"))], bidirectional=True),
    "projected": Stack([LSTMPCell(5, 2)]),
    "conv": Stack([ConvLSTMCell(4, (3,))]),
}


def drawn(tree, shape=()):
    rng = np.random.default_rng(0)
    draw = lambda a: rng.normal(size=(*shape, *a.shape)).astype(np.float32)
    return jax.tree.map(draw, tree)


@pytest.mark.parametrize("rows", [(), (2,)])
@pytest.mark.parametrize("name", STACKS)
def test_all_of_it_comes_back(tmp_path, name, rows):
    stack = STACKS[name]
    params = stack.init(jax.random.key(0), 3)
    carry = drawn(
        stack.initial_carry(3), (*rows, *[6] * (name == "conv" and len(rows)))
    )
    facts = dict(cells=stack.cells, carry=carry, lengths=np.array([5, 3]))
    save_stack(tmp_path / "run", params, **facts)
    stored = load_stored(tmp_path / "run")
    assert stored.stack == stack
    assert jax.tree.all(jax.tree.map(np.array_equal, stored.params, params))
    assert jax.tree.structure(stored.carry) == jax.tree.structure(carry)
    assert jax.tree.all(jax.tree.map(np.array_equal, stored.carry, carry))
    assert stored.lengths.tolist() == [5, 3]
    xs = drawn(jnp.zeros((5, 2, 6, 3) if name == "conv" else (5, 2, 3)))
    run = lambda stack, params, carry: stack(params, carry, xs, lengths=[5, 3])[1]
    if name != "conv" or rows:
        got = run(stored.stack, stored.params, stored.carry)
        assert np.array_equal(got, run(stack, params, carry))
    with pytest.raises(InteropError, match=r"carry and lengths.*load_stored"):
        load_stack(tmp_path / "run")


@pytest.mark.parametrize("name", ["lstm", "two directions"])
def test_a_layer_without_a_state_begins_at_zeros(tmp_path, name):
    stack = STACKS[name]
    params, (low, _) = stack.init(jax.random.key(0), 3), drawn(stack.initial_carry(3))
    facts = dict(cells=stack.cells, carry=(low, None), given=[{}, {"initial_h": "h"}])
    save_stack(tmp_path / "run", params, **facts)
    stored = load_stored(tmp_path / "run")
    assert stored.given == ({}, {"initial_h": "h"})
    assert jax.tree.all(jax.tree.map(np.array_equal, stored.carry[0], low))
    assert not any(map(np.any, jax.tree.leaves(stored.carry[1])))


def test_activations_alone_come_with_load_stack(tmp_path):
    stack = STACKS["lstm"]
    save_stack(tmp_path / "run", stack.init(jax.random.key(0), 3), cells=stack.cells)
    assert load_stack(tmp_path / "run")[0] == stack
    facts = json.loads((tmp_path / "run" / "stack.json").read_text())
    assert facts["layers"][0]["activations"]["gate"] == {
        "name": "hard_sigmoid",
        "alpha": 0.3,
        "beta": 0.1,
    }
    assert "activations" not in facts["layers"][1]


def test_a_folder_of_version_1(tmp_path):
    """Written before there were activations and states."""
    params = Stack([LSTMCell(4)]).init(jax.random.key(0), 3)
    save_stack(tmp_path / "run", params)
    path = tmp_path / "run" / "stack.json"
    facts = json.loads(path.read_text())
    facts = {"version": 1} | {k: facts[k] for k in ("merge", "layers", "origin")}
    path.write_text(json.dumps(facts))
    stack, read = load_stack(tmp_path / "run")
    assert stack == Stack([LSTMCell(4)])
    assert jax.tree.all(jax.tree.map(np.array_equal, params, read))


PARAMS = Stack([LSTMCell(4)] * 2).init(jax.random.key(0), 3)
H = np.zeros(4, np.float32)
STATE = LSTMCarry(H, H)
WRONG = {
    "another cell": (
        dict(cells=[GRUCell(4), LSTMCell(4)]),
        "cells[0] is GRUCell(hidden_size=4",
    ),
    "another size": (dict(cells=[LSTMCell(5), LSTMCell(4)]), "expected LSTMCell(hid"),
    "too few cells": (dict(cells=[LSTMCell(4)]), "cells has 1 entries, expected 2"),
    "a function without a name": (
        dict(cells=[LSTMCell(4, Activations(gate=jnp.sin)), LSTMCell(4)]),
        "a function without a name",
    ),
    "too few states": (dict(carry=[STATE]), "carry has 1 entries, expected 2"),
    "a state of another cell": (
        dict(carry=[STATE, GRUCarry(H)]),
        "carry[1] is of GRUCarry, expected 1 of LSTMCarry",
    ),
    "two directions of one": (
        dict(carry=[STATE, Bidirectional(STATE, STATE)]),
        "carry[1] is of LSTMCarry, LSTMCarry, expected 1",
    ),
    "a state of another size": (
        dict(carry=[STATE, LSTMCarry(H[:3], H)]),
        "the carry of layer 1 has",
    ),
    "other rows": (dict(carry=[STATE, LSTMCarry(H[None], H)]), "with the same rows"),
    "integers": (dict(carry=[STATE, LSTMCarry(H.astype(int), H)]), "expected floats"),
    "lengths of floats": (dict(lengths=np.ones(2)), "expected integers [B]"),
    "inputs of another stack": (dict(given=[{}]), "given has 1 entries, expected 2"),
    "inputs without names": (dict(given=[{}, {"h": 1}]), "expected dicts of text"),
    "a merge": (dict(merge="join"), "merge is 'join', expected one of concat"),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_not_of_the_stack_is_refused_before_it_is_written(tmp_path, name):
    facts, said = WRONG[name]
    with pytest.raises(InteropError) as raised:
        save_stack(tmp_path / "run", PARAMS, **facts)
    assert said in str(raised.value)
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('"hard_sigmoid"', '"hard_sigmoit"', "name is 'hard_sigmoit'"),
        ('"clip": 0.7', '"clip": "0.7"', "stack.json has activations"),
        ('"clip": 0.7', '"clip": -1', "clip is -1"),
        ('"clip": 0.7', '"klip": 1', "klip"),
        ('"alpha": 0.3', '"alpha": "a"', "alpha or beta is not a number"),
        ('"carry": true', '"carry": false', "0.carry.h is unknown"),
        ('"lengths": false', '"lengths": true', "lengths has dtype"),
    ],
)
def test_a_folder_that_was_changed(tmp_path, old, new, said):
    stack = STACKS["lstm"]
    params, carry = stack.init(jax.random.key(0), 3), stack.initial_carry(3)
    save_stack(tmp_path / "run", params, cells=stack.cells, carry=carry)
    path = tmp_path / "run" / "stack.json"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    with pytest.raises(InteropError, match=said):
        load_stored(tmp_path / "run")
