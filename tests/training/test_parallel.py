"""A run on several devices is the run on one device, but for rounding."""

import functools
import json
import math
import re
import shutil

import jax
import numpy as np
import pytest

from lstm_jax.cli import main
from lstm_jax.training.step import TrainState
from tests import every_task, tiny
from tests.every_task import start_of
from tests.tasks import labelled

pytestmark = pytest.mark.usefixtures("optax_promotion")

MESHES = {
    "two": ["parallel.data=2"],
    "four": ["parallel.data=4"],
    "eight": ["parallel.data=8"],
    "all": ["parallel.data=-1"],
    "sharded": ["parallel.data=8", "parallel.shard_parameters=true"],
    "tables": ["parallel.data=2", "parallel.model=4"],
    "both": ["parallel.data=4", "parallel.model=2", "parallel.shard_parameters=true"],
}
LONG = (
    "train.batch_size=16",
    "train.steps=200",
    "train.block=50",
    "train.evaluate_every=100",
    "train.checkpoint_every=200",
)
# A lower rate: near a loss of 0, relative differences of rounding grow.
SERIES = (*LONG, "model.output_dropout=0.1", "optimizer.learning_rate=0.003")


def curves(run):
    """Every number of the metrics, by line and name."""
    return [
        (n, key, value)
        for n, line in enumerate(tiny.metrics(run))
        for key, value in line.items()
        if value is not None and not isinstance(value, list)
    ]


def assert_same_curve(one, other, tolerance=1e-5):
    for (n, key, value), found in zip(curves(one), curves(other), strict=True):
        assert found[:2] == (n, key)
        assert math.isclose(found[2], value, rel_tol=tolerance), (n, key)


def train(folder, write, *more):
    folder.mkdir()
    args = [*write(folder), *more, f"run.directory={folder / 'run'}"]
    assert main(["train", *args]) == 0
    return folder / "run"


@pytest.fixture(scope="module")
def on_one(optax_promotion, tmp_path_factory):
    folder = tmp_path_factory.mktemp("one")
    return {
        "text": train(folder / "text", tiny.write, *LONG),
        "series": train(folder / "series", labelled.write_series, *SERIES),
    }


@pytest.mark.parametrize("mesh", MESHES)
def test_the_curve_of_a_language_model(on_one, mesh, tmp_path):
    """200 steps with dropout, whose masks must not depend on the devices."""
    found = train(tmp_path / "text", tiny.write, *LONG, *MESHES[mesh])
    assert_same_curve(on_one["text"], found)


def test_the_curves_of_two_seeds(tmp_path):
    seeds = (*LONG, "train.seeds=2", "train.steps=50", "train.evaluate_every=50")
    one = train(tmp_path / "one", tiny.write, *seeds)
    found = train(tmp_path / "both", tiny.write, *seeds, *MESHES["both"])
    assert "losses" in tiny.metrics(one)[0]
    for line, other in zip(tiny.metrics(one), tiny.metrics(found), strict=True):
        for name in {"losses", "valid_loss_each"} & {*line}:
            np.testing.assert_allclose(other[name], line[name], rtol=1e-5)


@pytest.mark.parametrize("mesh", ["two", "eight", "both"])
def test_the_curve_of_a_classifier(on_one, mesh, tmp_path):
    found = train(tmp_path / "s", labelled.write_series, *SERIES, *MESHES[mesh])
    assert_same_curve(on_one["series"], found)


def after_blocks(start, blocks=2):
    """The state after some blocks of steps, on one device, and the metrics of each."""
    state, found = start.state, []
    for _ in range(blocks):
        data, n = start.batches.take(int(state.step), 2)
        state, metrics = start.block(state, data, n)
        found.append(metrics)
    start.batches.close()
    return start.placement.whole((state.params, state.opt_state, state.carry, found))


@pytest.mark.parametrize("task", every_task.WRITERS)
def test_every_task(task, tmp_path):
    """With 6 rows where other rows of weight 0 may fill up a batch."""
    write, streams = every_task.WRITERS[task], ("memory", "language_model")
    more = [f"train.batch_size={8 if task in streams else 6}"]
    args = write(tmp_path)
    given = lambda folder: args
    one = after_blocks(start_of(tmp_path, given, *more))
    found = after_blocks(start_of(tmp_path, given, *more, *MESHES["both"]))
    # Adam divides by the size of a gradient, and tiny ones are all rounding.
    close = functools.partial(np.testing.assert_allclose, rtol=1e-4, atol=2e-4)
    jax.tree.map(close, found, one)


def held(tree):
    """Bytes of a tree, in all and on the device that holds most."""
    devices = dict.fromkeys(jax.devices(), 0)
    for leaf in jax.tree.leaves(tree):
        for shard in leaf.addressable_shards:
            devices[shard.device] += shard.data.nbytes
    whole = sum(leaf.nbytes for leaf in jax.tree.leaves(tree))
    return whole, max(devices.values())


LARGE = ("model.embed_size=32", "model.hidden_size=64", "train.batch_size=8")


@pytest.mark.parametrize("mesh", ["sharded", "both"])
def test_sharded_parameters_take_an_eighth(mesh, tmp_path):
    """Before the first step, and after it."""
    start = start_of(tmp_path, tiny.write, *LARGE, *MESHES[mesh])
    state, devices = start.state, len(jax.devices())
    for _ in range(2):
        whole, most = held((state.params, state.opt_state))
        assert most <= whole / devices * 1.05
        data, n = start.batches.take(int(state.step), 1)
        state, _ = start.block(state, data, n)
    assert isinstance(state, TrainState)


def test_tables_are_split_by_tokens(tmp_path):
    """28 distinct characters on four devices."""
    params = start_of(tmp_path, tiny.write, *LARGE, *MESHES["tables"]).state.params
    shape = lambda leaf: leaf[...].addressable_shards[0].data.shape
    assert shape(params["embed"]["embedding"]) == (7, 32)
    assert shape(params["head"]["kernel"]) == (64, 7)
    assert shape(params["head"]["bias"]) == (7,)
    assert shape(params["lstm"]["weights"]["forward"][0]["w_h"]) == (64, 256)


GATHER = re.compile(r"= (\S+) (?:all-gather|all-to-all|collective-permute)\(")


@pytest.mark.parametrize("task", sorted({*every_task.WRITERS} - {"transcription"}))
def test_a_step_gathers_no_activations(task, tmp_path):
    """Between the devices there are only sums of gradients and of the loss.

    XLA does not split a Fourier transform, so the features of sounds are gathered.
    """
    start = start_of(
        tmp_path, every_task.WRITERS[task], "train.batch_size=16", *MESHES["eight"]
    )
    data, n = start.batches.take(0, 2)
    program = start.block.lower(start.state, data, n).compile().as_text()
    assert GATHER.findall(program) == []
    assert "all-reduce" in program


ON_FOUR = ("train.batch_size=8", *MESHES["four"], "parallel.shard_parameters=true")


@pytest.fixture(scope="module")
def four(optax_promotion, tmp_path_factory):
    """An uninterrupted run on four devices, and the folder of one that was stopped."""
    folder = tmp_path_factory.mktemp("four")
    whole = train(folder / "whole", tiny.write, *ON_FOUR)
    args = [*tiny.write(folder), *ON_FOUR, f"run.directory={folder / 'run'}"]
    with pytest.MonkeyPatch.context() as patch:
        tiny.interrupt_at(patch, 4)
        assert main(["train", *args]) == 130
    return whole, folder


@pytest.mark.parametrize("devices", [1, 2, 4, 8])
def test_a_run_goes_on_with_other_devices(devices, four, tmp_path):
    whole, folder = four
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    args = [*tiny.write(tmp_path), *ON_FOUR, f"run.directory={tmp_path / 'run'}"]
    changed = [f"parallel.data={devices}"]
    changed += ["parallel.shard_parameters=false"] * (devices == 1)
    assert main(["train", *args, *changed, "--resume"]) == 0
    found = tmp_path / "run"
    assert_same_curve(whole, found)
    if devices == 4:
        assert tiny.metrics(found) == tiny.metrics(whole)
        weights = "model.safetensors"
        assert (found / weights).read_bytes() == (whole / weights).read_bytes()
    resumed = json.loads((found / "run.json").read_text())["resumed"]
    assert resumed[-1]["step"] < 12


REFUSED = {
    "train.batch_size is 6, which cannot be split over 8 devices; set "
    "parallel.data=6, or begin a new run with train.batch_size=8": [
        "train.batch_size=6",
        "parallel.data=8",
    ],
    "parallel.data=16 and parallel.model=1 need 16 devices, but there are 8": [
        "parallel.data=16"
    ],
    "needs a multiple of 3 devices, but there are 8": [
        "parallel.data=-1",
        "parallel.model=3",
    ],
    "needs several devices; set parallel.data=-1": ["parallel.shard_parameters=true"],
    "data and model are both -1": ["parallel.data=-1", "parallel.model=-1"],
    "parallel.data is 0: must be 1 or more, or -1 for all devices": ["parallel.data=0"],
}


@pytest.mark.parametrize("said", REFUSED)
def test_refusals(said, tmp_path, capsys):
    args = [*tiny.write(tmp_path), *REFUSED[said], f"run.directory={tmp_path / 'r'}"]
    assert main(["train", *args]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "r").exists()
