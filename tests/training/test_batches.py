"""Batches from the host: every step has its own batch, however steps are cut."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from lstm_jax.training.batches import DeviceBatches, HostBatches
from lstm_jax.training.metrics import Aux, Mean, over_batches
from lstm_jax.training.step import init_state, make_block

pytestmark = pytest.mark.usefixtures("optax_promotion")

OPTIMIZER = optax.with_extra_args_support(optax.sgd(0.1))
LENGTHS = [3, 3, 5, 5, 5, 3, 3, 3, 3]


class Source:
    """Batches of two shapes, in an order of their epoch, with a last one of one row."""

    def __init__(self, fails_at=None, epochs=None):
        self.fails_at, self.epochs, self.threads = fails_at, epochs, set()

    def plan(self, epoch):
        count = len(LENGTHS) if self.epochs is None else self.epochs[epoch]
        order = np.random.default_rng([7, epoch]).permutation(count)
        # Batches of one shape one after the other, as blocks like them.
        return [(epoch, n) for n in sorted(order, key=lambda n: LENGTHS[n])]

    def load(self, batch):
        self.threads.add(threading.current_thread().name)
        epoch, n = batch
        if n == self.fails_at:
            raise OSError("row 7 cannot be read")
        rows = 1 if n == 0 else 4
        xs = np.random.default_rng([epoch, n]).normal(size=(LENGTHS[n], rows))
        weight = np.zeros(4, np.float32)
        weight[:rows] = 1
        padded = np.zeros((LENGTHS[n], 4), np.float32)
        padded[:, :rows] = xs
        return {"xs": padded, "weight": weight}


def loss(params, carry, batch, key):
    del key
    errors = ((batch["xs"] - params["p"]) ** 2).mean(0) * batch["weight"]
    weight = batch["weight"].sum()
    return errors.sum() / weight, Aux(carry, {"error": Mean(errors.sum(), weight)})


def train(batches, cuts, start=None, step=0, capacity=6):
    """The state after some steps, and the metrics of each."""
    state = start or init_state({"p": jnp.zeros(())}, (), OPTIMIZER, jax.random.key(0))
    block, found = make_block(loss, OPTIMIZER, batches.at, capacity), []
    for cut in cuts:
        end = step + cut
        while step < end:
            data, n = batches.take(step, end - step)
            assert 1 <= n <= end - step
            state, metrics = block(state, data, n)
            found += [*np.asarray(metrics["error"])[:n]]
            step += n
    batches.close()
    return state, np.array(found)


def test_every_step_has_the_batch_of_its_number():
    """However the steps are cut, and whichever threads load the batches."""
    source = Source()
    _, whole = train(HostBatches(source, 6), [20])
    for step, (total, weight) in enumerate(whole):
        epoch, n = divmod(step, len(LENGTHS))
        batch = source.load(source.plan(epoch)[n])
        assert weight == batch["weight"].sum(), step
        if step == 0:
            expected = ((batch["xs"] ** 2).mean(0) * batch["weight"]).sum()
            assert total == pytest.approx(expected, rel=1e-6)
    assert any(name.startswith("batches") for name in source.threads)
    for cuts, threads in (([1] * 20, 1), ([3, 9, 8], 2)):
        _, found = train(HostBatches(Source(), 6, threads=threads), cuts)
        np.testing.assert_array_equal(found, whole)


def test_training_goes_on_at_any_step():
    """The step is the whole position: nothing of the batches is saved."""
    _, whole = train(HostBatches(Source(), 6), [20])
    for stop in (1, 8, 9, 13):
        state, first = train(HostBatches(Source(), 6), [stop])
        _, rest = train(HostBatches(Source(), 6), [20 - stop], state, stop)
        np.testing.assert_array_equal([*first, *rest], whole)


def test_a_block_has_batches_of_one_shape_and_no_more_than_fit():
    batches = HostBatches(Source(), 6)
    data, n = batches.take(0, 100)
    assert n == 6  # six short ones before three long ones
    assert data.batches["xs"].shape == (6, 3, 4)
    data, n = batches.take(6, 100)
    assert (n, data.batches["xs"].shape) == (3, (6, 5, 4))
    batches.close()
    small = HostBatches(Source(), 6, block_bytes=130)  # room for two of 64 bytes
    assert small.take(0, 100)[1] == 2
    small.close()


def test_what_goes_wrong_in_a_thread_is_raised():
    with pytest.raises(OSError, match="row 7 cannot be read"):
        train(HostBatches(Source(fails_at=6), 2), [9])
    with pytest.raises(ValueError, match="epoch 1 has 8 batches and epoch 0 has 9"):
        train(HostBatches(Source(epochs=[9, 8]), 2), [12])


def test_the_metric_of_an_uneven_last_batch_is_that_of_one_batch():
    rng = np.random.default_rng(0)
    values = rng.normal(size=1001).astype(np.float32)
    batches = [values[n : n + 64] for n in range(0, len(values), 64)]
    measure = lambda xs: {"mean": Mean(xs.sum(dtype=np.float32), len(xs))}
    found = over_batches(measure, batches)["mean"]
    assert found == pytest.approx(float(values.astype(float).mean()), rel=1e-6)
    assert found != pytest.approx(np.mean([xs.mean() for xs in batches]), rel=1e-6)
    with pytest.raises(ValueError, match="there are no batches"):
        over_batches(measure, [])


def test_batches_of_the_device_are_functions_of_the_step():
    at = lambda data, carry, step, key: (data[step % 3], carry)
    batches = DeviceBatches(jnp.arange(3.0), at, steps_per_epoch=3)
    data, n = batches.take(2, 5)
    assert (n, batches.steps_per_epoch, batches.at(data, (), 4, None)[0]) == (5, 3, 1)
