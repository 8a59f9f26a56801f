"""What cannot fit into memory is refused by name, before anything is allocated."""

import jax
import jax.numpy as jnp
import pytest

from lstm_jax.config import ConfigError, build
from lstm_jax.runs import enough_memory
from lstm_jax.runs.configs import find_task, make_task, read_config, text_of
from lstm_jax.runs.load import trained
from lstm_jax.runs.train import Start
from lstm_jax.training.environment import environment
from lstm_jax.training.run_folder import Run

pytestmark = pytest.mark.usefixtures("optax_promotion")


def memory_task(*overrides):
    values = {
        "task": "memory",
        "problem": {"length": 6},
        "model": {"hidden_size": 4},
        "train": {"steps": 2, "batch_size": 4},
    }
    return make_task(read_config(values, overrides))


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(
    ("options", "slots"),
    [
        (["optimizer.kind=adam"], 2),
        (["optimizer.kind=sgd"], 0),
        (["optimizer.average.kind=ema", "optimizer.average.decay=0.9"], 3),
        (["optimizer.accumulate=2"], 3),
    ],
)
def test_the_estimate_is_the_state_and_what_comes_with_it(
    monkeypatch, seeds, options, slots
):
    """It is the size of the state that training starts from, and two more copies."""
    found = []
    monkeypatch.setattr(enough_memory, "_refuse", lambda size, *_: found.append(size))
    task = memory_task(*options, f"train.seeds={seeds}")
    state = Start.of(task).state
    params = enough_memory.size_of(state.params)
    (needed,) = found
    assert needed == pytest.approx(enough_memory.size_of(state) + 2 * params, rel=0.05)
    assert needed == pytest.approx((3 + slots) * params, rel=0.05)


def test_a_training_that_cannot_fit_says_both_sizes(monkeypatch):
    monkeypatch.setattr(enough_memory, "available_memory", lambda: 3 * 2**20)
    Start.of(memory_task())
    with pytest.raises(ConfigError) as error:
        Start.of(memory_task("model.hidden_size=300", "train.seeds=2"))
    said = str(error.value)
    for part in (
        "training 2 seeds of 363,901 parameters",
        "optimizer.kind=adam needs 13.9 MiB of memory or more",
        "but 3 MiB are available; lower model.hidden_size",
    ):
        assert part in said


def test_nothing_is_allocated_for_the_estimate():
    """A million units are 16 TB of recurrent weights alone."""
    with pytest.raises(ConfigError, match=r"4,000,013,\d+,\d+ param.* 72.8 TiB of mem"):
        Start.of(memory_task("model.hidden_size=1000000"))


def test_a_run_is_not_restored_where_it_cannot_fit(monkeypatch, tmp_path):
    """As of a stranger's folder, that `generate` is called with."""
    task = memory_task()
    run = Run.make(tmp_path / "run")
    with run.alone():
        run.begin(text_of(task.config), task.describe() | environment())
    monkeypatch.setattr(enough_memory, "available_memory", lambda: 100)
    with pytest.raises(ConfigError, match=r"a run of \d+ parameters needs .* 100 byt"):
        trained(tmp_path / "run")


def test_keys_and_abstract_arrays_have_a_size():
    tree = {"a": jnp.zeros((3, 2)), "b": jax.ShapeDtypeStruct((4,), jnp.bfloat16)}
    assert enough_memory.size_of(tree | {"key": jax.random.key(0)}) == 24 + 8


def test_this_machine_has_memory():
    assert enough_memory.available_memory() > 2**20


HUGE = {
    "language_model": [
        ("model", "num_layers", 1_000_000_000),
        ("model", "hidden_size", 1_000_000_000),
        ("model", "hidden_size", [8, 1_000_000_000]),
        ("model", "embed_size", 1_000_000_000),
        ("model", "init_range", 1e308),
        ("model", "forget_bias", -1e308),
        ("model", "activation_penalty", 1e308),
        ("train", "window", 1_000_000_000),
        ("train", "block", 10**18),
        ("train", "steps", 3_000_000_000),
        ("train", "seeds", 100_000),
        ("optimizer", "accumulate", 10**12),
        ("optimizer", "learning_rate", 1e308),
        ("optimizer", "clip_norm", 1e308),
        ("optimizer", "weight_decay", 1e308),
        ("evaluation", "batch_size", 1_000_000_000),
        ("evaluation", "dynamic_rate", 1e308),
    ],
    "memory": [
        ("model", "num_layers", 1_000_000_000),
        ("model", "hidden_size", 1_000_000_000),
        ("problem", "length", 1_000_000_000),
        ("evaluation", "batch_size", 1_000_000_000),
        ("evaluation", "sequences", 1_000_000_000),
    ],
    "classification": [
        ("model", "num_layers", 1_000_000_000),
        ("model", "hidden_size", 1_000_000_000),
        ("model", "attention_size", 1_000_000_000),
        ("evaluation", "batch_size", 1_000_000_000),
    ],
}


@pytest.mark.parametrize(
    ("task", "section", "key", "value"),
    [(task, *change) for task, changes in HUGE.items() for change in changes],
)
def test_numbers_without_sense_are_refused_by_name(task, section, key, value):
    """They ended in MemoryError, OverflowError, NaN or silence."""
    values = {"task": task, section: {key: value}}
    if key == "weight_decay":
        values[section]["name"] = "adamw"
    with pytest.raises(ConfigError, match=rf"{section}\.{key}"):
        build(find_task(task)[0], values)
