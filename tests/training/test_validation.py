"""Where higher values are better, everything is as for the negatives of them."""

import numpy as np
import pytest

from lstm_jax.training.validation import Rules, Validation

VALUES = np.random.default_rng(0).normal(size=(40, 3)).round(1)
RULES = dict(patience=9, plateau=3, decay=0.5, non_monotone=4)


def test_higher_is_lower_of_the_negative():
    lower = Validation(Rules(**RULES), 3)
    higher = Validation(Rules(**RULES, higher_is_better=True), 3)
    for step, values in enumerate(VALUES):
        one, other = lower.add(step, values), higher.add(step, -values)
        assert one.tolist() == other.tolist(), step
        np.testing.assert_array_equal(lower.best, -higher.best)
        for name in ("best_step", "rate", "averaging", "has_ended", "best_seed"):
            np.testing.assert_array_equal(
                getattr(lower, name), getattr(higher, name), err_msg=name
            )
    assert lower.has_ended.any(), "the values do not show patience"
    assert lower.averaging.any()
    assert (lower.rate < 1).any()


@pytest.mark.parametrize("higher", [False, True])
def test_a_value_that_is_not_finite_is_the_worst(higher):
    validation = Validation(Rules(higher_is_better=higher), 2)
    assert validation.add(1, [np.nan, 0.5]).tolist() == [False, True]
    assert validation.add(2, [-np.inf, np.inf]).tolist() == [False, False]
    assert validation.best_seed == 1
    assert validation.best[1] == 0.5
