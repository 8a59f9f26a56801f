"""Configs and runs of older versions work, and train to the same numbers."""

import tomllib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lstm_jax.cli import main
from lstm_jax.config import ConfigError, read
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.old_keys import updated
from tests import tiny
from tests.test_config import FILES

pytestmark = pytest.mark.usefixtures("optax_promotion")

OLD = {
    "char_long": 'name="adamw",learning_rate=3e-3,warmup_steps=200,weight_decay=0.1',
    "classify": 'name="adam",learning_rate=2e-3,warmup_steps=20',
    "japanese_vowels": 'name="adamw",learning_rate=3e-3,weight_decay=1e-2,'
    "warmup_steps=20",
    "memory_adding": 'name="adam",learning_rate=2e-3,schedule="constant"',
    "memory_copy": 'name="adam",learning_rate=1e-2,schedule="linear",final_share=0.1,'
    "clip_norm=0.005",
    "memory_order": 'name="adam",learning_rate=2e-3,schedule="constant"',
    "memory_reber": 'name="adam",learning_rate=5e-3,schedule="constant"',
    "mnist_rows": 'name="adam",learning_rate=2e-3,warmup_steps=100',
    "quickstart": 'name="adam",learning_rate=4e-3,warmup_steps=50',
    "awd": 'name="sgd",learning_rate=30.0,schedule="constant",clip_norm=0.25,'
    'weight_decay=1.2e-6,average="nt_asgd",average_after=5',
    "ptb_hour": 'name="adamw",learning_rate=3e-3,warmup_steps=300,weight_decay=0.01,'
    "clip_norm=0.5",
    "ptb_medium": 'name="sgd",learning_rate=35.0,schedule="epochs",decay=0.8,'
    "decay_after=6,clip_norm=0.142857142857",
    "ptb_small": 'name="sgd",learning_rate=20.0,schedule="epochs",decay=0.5,'
    "decay_after=4,clip_norm=0.25",
    "shakespeare": 'name="adamw",learning_rate=4e-3,warmup_steps=200,weight_decay=0.02',
    "shakespeare_3min": 'name="adam",learning_rate=4e-3,warmup_steps=100',
}
"""The optimizer of configs that had keys of older versions, by the file."""


def old_table(text):
    return tomllib.loads(f"optimizer = {{{text}}}")["optimizer"]


def old_chain(old, steps, steps_per_epoch):
    """What the older version made of these keys."""
    get = lambda name, default=0: old.get(name, default)
    top, warmup, share = old["learning_rate"], get("warmup_steps"), get("final_share")
    rest = max(steps - warmup - (share > 0), 1)

    def by_epoch(count):
        epoch = (count + warmup) // steps_per_epoch
        times = jnp.maximum(epoch + 1 - old["decay_after"], 0)
        return top * jnp.float32(old["decay"]) ** times.astype("float32")

    rate = {
        "constant": lambda: optax.constant_schedule(top),
        "linear": lambda: optax.linear_schedule(top, top * share, rest),
        "cosine": lambda: optax.cosine_decay_schedule(top, rest, share),
        "epochs": lambda: by_epoch,
    }[get("schedule", "cosine")]()
    if warmup:
        rise = optax.linear_schedule(top / (warmup + 1), top, warmup)
        rate = optax.join_schedules([rise, rate], [warmup])
    decay = get("weight_decay")
    rule = {
        "adam": lambda: [optax.adam(rate, b1=0.9, b2=0.999)],
        "adamw": lambda: [optax.adamw(rate, b1=0.9, b2=0.999, weight_decay=decay)],
        "sgd": lambda: (
            [optax.add_decayed_weights(decay)] * bool(decay) + [optax.sgd(rate)]
        ),
    }[old["name"]]()
    return optax.chain(optax.clip_by_global_norm(get("clip_norm", 1.0)), *rule)


def three_steps(chain, **options):
    params = {"w": jnp.linspace(-1, 1, 12).reshape(3, 4), "b": jnp.ones(4)}
    loss = lambda p, x: (jnp.tanh(x @ p["w"] + p["b"][None]) ** 2).sum()
    state = chain.init(params)
    for n in range(3):
        grads = jax.grad(loss)(params, jnp.arange(6.0).reshape(2, 3) + n)
        updates, state = chain.update(grads, state, params, **options)
        params = optax.apply_updates(params, updates)
    return jax.tree.map(np.asarray, params)


@pytest.mark.parametrize(
    "path", [p for p in FILES if p.stem in OLD], ids=lambda path: path.stem
)
def test_every_config_trains_as_before(path):
    """The parameters after three steps are those of the older chain, bit for bit."""
    now, old = read_config(read(path)).optimizer, old_table(OLD[path.stem])
    assert read_config(read(path) | {"optimizer": old}).optimizer == now
    ours, theirs = three_steps(now.build(40, 2)), three_steps(old_chain(old, 40, 2))
    for name in ("w", "b"):
        np.testing.assert_array_equal(ours[name], theirs[name])


FLAT = """\
name = "adam"
learning_rate = 0.05
schedule = "cosine"
warmup_steps = 2
final_share = 0.0
decay = 0.0
decay_after = 0
clip_norm = 1.0
clip_value = 0.0
momentum = 0.0
weight_decay = 0.0
beta1 = 0.0
beta2 = 0.0
accumulate = 1
average = "none"
average_decay = 0.0
average_after = 0
"""
"""The optimizer of a tiny run, as the config.toml of an older run had it."""


def test_zeros_that_meant_nothing_are_left_out():
    tiny_one = {"task": "language_model", "optimizer": tomllib.loads(FLAT)}
    expected = tomllib.loads(tiny.CONFIG)["optimizer"]
    expected = read_config({"task": "language_model", "optimizer": expected})
    assert read_config(tiny_one) == expected
    of = lambda **old: read_config({"task": "memory", "optimizer": old}).optimizer
    assert of(clip_norm=0, clip_value=0.0).clip_norm is None
    assert of(schedule="epochs", decay=0.5).schedule.after == 0
    assert of(average="ema", average_decay=0.9).average.decay == 0.9
    with pytest.raises(ConfigError, match=r"unknown key optimizer\.momentum of kind"):
        of(name="adam", momentum=0.9)
    awd = read(next(path for path in FILES if path.stem == "awd"))
    assert read_config(awd, ["optimizer.average=none"]).optimizer.average is None
    mixed = {"optimizer": {"kind": "sgd", "warmup_steps": 2}}
    assert updated(mixed) is mixed
    with pytest.raises(ConfigError, match=r"is now optimizer\.schedule\.warmup_steps"):
        read_config({"task": "memory"} | mixed)


def test_a_run_of_an_older_version(tmp_path, capsys):
    """It is listed, loaded and resumed; its config.toml is brought up to date."""
    run, args = tmp_path / "run", tiny.write(tmp_path)
    assert main(["train", *args, f"run.directory={run}"]) == 0
    text = (run / "config.toml").read_text()
    begin, end = text.index("[optimizer]"), text.index("[train]")
    old = f"{text[:begin]}[optimizer]\n{FLAT}\n{text[end:]}"
    (run / "config.toml").write_text(old)
    capsys.readouterr()
    assert main(["compare", str(run), str(run)]) == 0
    assert "configs are the same" in capsys.readouterr().out
    assert main(["generate", str(run), "--length", "5"]) == 0
    assert main(["evaluate", str(run)]) == 0
    assert main(["train", str(run / "config.toml"), "train.steps=14", "--resume"]) == 0
    assert tiny.metrics(run)[-1]["step"] == 14
    assert "[optimizer.schedule]" in (run / "config.toml").read_text()
