"""Mean and standard deviation of the features, over all steps of all sequences."""

import json

import numpy as np
import pytest

from lstm_jax.data.standardise import Standardisation
from lstm_jax.data.text import DataError


def example():
    rng = np.random.default_rng(0)
    return [rng.normal(3, 5, (n, 2)).astype(np.float32) for n in (4, 1, 0, 9)]


def test_over_all_steps():
    sequences = example()
    found = Standardisation.fit(sequences)
    steps = np.concatenate(sequences).astype(np.float64)
    np.testing.assert_allclose(found.mean, steps.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(found.std, steps.std(axis=0), rtol=1e-12)
    after = np.concatenate([found.apply(x) for x in sequences])
    np.testing.assert_allclose(after.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(after.std(axis=0), 1, atol=1e-12)


def test_a_constant_feature_becomes_zero():
    found = Standardisation.fit([np.full((3, 1), 0.1), np.full((4, 1), 0.1)])
    assert found.std == (1.0,)
    np.testing.assert_allclose(found.apply(np.full((3, 1), 0.1)), 0, atol=1e-15)


def test_it_is_a_value_and_survives_json():
    found = Standardisation.fit(example())
    again = Standardisation.restore(json.loads(json.dumps(found.facts())))
    assert again == found
    assert hash(again) == hash(found)


def test_seconds_since_1970():
    times = 1.7e9 + np.arange(10.0)[:, None]
    said = r"feature when has mean 1.7e\+09 .* subtract 1700000004 from it"
    with pytest.raises(DataError, match=said):
        Standardisation.fit([times], ["when"])
    Standardisation.fit([times - 1700000004], ["when"])


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Standardisation.fit([np.zeros((0, 2))]), "have no step"),
        (
            lambda: Standardisation((1.0,), (1.0, 2.0)),
            "expected one of each per feature",
        ),
        (lambda: Standardisation((1.0,), (0.0,)), "std above 0"),
        (lambda: Standardisation((float("nan"),), (1.0,)), "finite numbers"),
        (lambda: Standardisation.restore({"mean": [1]}), "expected mean and std"),
    ],
)
def test_what_cannot_be_used(make, said):
    with pytest.raises(DataError, match=said):
        make()
