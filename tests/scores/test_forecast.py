"""Metrics of forecasts against utilsforecast, scoringrules and plain loops."""

import numpy as np
import pandas
import pytest
import scoringrules as rules
from utilsforecast import losses

from lstm_jax.scores.forecast import (
    coverage,
    crps,
    mae,
    mase,
    mse,
    msis,
    owa,
    pinball,
    rmse,
    seasonal_scale,
    smape,
    weighted_quantile_loss,
)

N, H, T, S, SEASON = 7, 5, 40, 9, 4
LEVELS = [0.1, 0.5, 0.8]
NAN = float("nan")
AVERAGES = ("points", "series")


class Example:
    """Random forecasts with missing values, zeros, and a row with nothing observed."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.truth = rng.normal(size=(N, H)).round(1)
        self.truth[rng.random((N, H)) < 0.3] = NAN
        self.truth[0, :2], self.truth[2] = 0.0, NAN
        self.forecast = rng.normal(size=(N, H))
        self.forecast[0, 0] = 0.0
        self.forecast[np.isnan(self.truth)] = NAN  # missing here as well is fine
        self.quantiles = np.sort(rng.normal(size=(N, H, len(LEVELS))))
        self.samples = rng.normal(size=(N, H, S)).round(1)  # with equal samples
        self.histories = rng.normal(size=(N, T))
        self.histories[rng.random((N, T)) < 0.2] = NAN
        self.scale = seasonal_scale(self.histories, SEASON)
        self.lower, self.upper = self.quantiles[..., 0], self.quantiles[..., -1]
        self.rows = [n for n in range(N) if not np.isnan(self.truth[n]).all()]

    def mean(self, loss, average):
        """The mean of ``loss(n, h)``, by a loop."""
        seen = lambda n: [
            loss(n, h) for h in range(H) if not np.isnan(self.truth[n, h])
        ]
        rows = [seen(n) for n in self.rows]
        if average == "series":
            return np.mean([np.mean(row) for row in rows])
        return np.mean([x for row in rows for x in row])


E = Example()


def loop_pinball(n, h):
    y, f = E.truth[n, h], E.quantiles[n, h]
    return np.mean([(q - (y < x)) * (y - x) for q, x in zip(LEVELS, f, strict=True)])


def loop_crps(n, h, fair):
    x, y = E.samples[n, h], E.truth[n, h]
    pairs = sum(abs(a - b) for a in x for b in x)
    return np.mean(abs(x - y)) - pairs / (S * (S - 1) if fair else S * S) / 2


def loop_interval(n, h):
    y, low, high = E.truth[n, h], E.lower[n, h], E.upper[n, h]
    outside = (low - y) * (y < low) + (y - high) * (y > high)
    return (high - low + 2 / 0.2 * outside) / E.scale[n]


def loop_smape(n, h):
    y, f = E.truth[n, h], E.forecast[n, h]
    return 200 * abs(y - f) / (abs(y) + abs(f)) if y or f else 0.0


Y, F = E.truth, E.forecast
TABLE = {
    "mse": (lambda a: mse(Y, F, average=a), lambda n, h: (Y[n, h] - F[n, h]) ** 2),
    "mae": (lambda a: mae(Y, F, average=a), lambda n, h: abs(Y[n, h] - F[n, h])),
    "smape": (lambda a: smape(Y, F, average=a), loop_smape),
    "mase": (
        lambda a: mase(Y, F, E.scale, average=a),
        lambda n, h: abs(Y[n, h] - F[n, h]) / E.scale[n],
    ),
    "pinball": (lambda a: pinball(Y, E.quantiles, LEVELS, average=a), loop_pinball),
    "fair crps": (
        lambda a: crps(Y, E.samples, average=a),
        lambda n, h: loop_crps(n, h, True),
    ),
    "plain crps": (
        lambda a: crps(Y, E.samples, fair=False, average=a),
        lambda n, h: loop_crps(n, h, False),
    ),
    "coverage": (
        lambda a: coverage(Y, E.lower, E.upper, average=a),
        lambda n, h: float(E.lower[n, h] <= Y[n, h] <= E.upper[n, h]),
    ),
    "msis": (
        lambda a: msis(Y, E.lower, E.upper, E.scale, level=0.8, average=a),
        loop_interval,
    ),
}


@pytest.mark.parametrize("average", AVERAGES)
@pytest.mark.parametrize("name", TABLE)
def test_matches_a_loop(name, average):
    ours, loss = TABLE[name]
    assert ours(average) == pytest.approx(E.mean(loss, average), rel=1e-12)


def test_the_averages_differ_where_values_are_missing():
    assert mse(Y, F, average="points") != pytest.approx(mse(Y, F, average="series"))


def test_rmse_takes_the_root_last():
    assert rmse(Y, F) == pytest.approx(mse(Y, F) ** 0.5)
    rows = [mse(Y[n : n + 1], F[n : n + 1]) ** 0.5 for n in E.rows]
    assert rmse(Y, F, average="series") == pytest.approx(np.mean(rows))


def frame(values, **columns):
    """Rows of ``[N, T]`` as the long table of utilsforecast, without missing values."""
    n, t = np.indices(values.shape)
    table = pandas.DataFrame(
        {"unique_id": n.ravel(), "ds": t.ravel(), "y": values.ravel()}
        | {name: column.ravel() for name, column in columns.items()}
    )
    return table


def test_matches_utilsforecast():
    names = {
        "model": F,
        "model-lo-80": E.lower,
        "model-hi-80": E.upper,
        **{f"q{n}": E.quantiles[..., n] for n in range(len(LEVELS))},
    }
    table = frame(Y, **names)
    table = table[table["y"].notna()]
    past = frame(E.histories)
    mean = lambda found: found["model"].mean()
    series = {"average": "series"}
    assert mse(Y, F, **series) == pytest.approx(mean(losses.mse(table, ["model"])))
    assert mae(Y, F, **series) == pytest.approx(mean(losses.mae(table, ["model"])))
    assert rmse(Y, F, **series) == pytest.approx(mean(losses.rmse(table, ["model"])))
    assert smape(Y, F) == pytest.approx(200 * mean(losses.smape(table, ["model"])))
    theirs = losses.mase(table, ["model"], seasonality=SEASON, train_df=past)
    assert mase(Y, F, E.scale) == pytest.approx(mean(theirs))
    columns = {"model": ["q0", "q1", "q2"]}
    theirs = losses.mqloss(table, columns, quantiles=np.array(LEVELS))
    ours = pinball(Y, E.quantiles, LEVELS, average="series")
    assert ours == pytest.approx(mean(theirs))
    theirs = losses.coverage(table, ["model"], level=80)
    assert coverage(Y, E.lower, E.upper, **series) == pytest.approx(mean(theirs))
    theirs = losses.winkler_score(table, ["model"], level=80)
    ours = msis(Y, E.lower, E.upper, np.ones(N), level=0.8)
    assert ours == pytest.approx(mean(theirs))


@pytest.mark.parametrize(("fair", "estimator"), [(True, "fair"), (False, "nrg")])
def test_matches_scoringrules(fair, estimator):
    seen = ~np.isnan(Y)
    theirs = rules.crps_ensemble(Y[seen], E.samples[seen], estimator=estimator)
    assert crps(Y, E.samples, fair=fair) == pytest.approx(theirs.mean())


def test_weighted_quantile_loss_is_a_ratio_of_sums():
    seen = [(n, h) for n in range(N) for h in range(H) if not np.isnan(Y[n, h])]
    total = sum(abs(Y[at]) for at in seen)
    by_level = []
    for k, q in enumerate(LEVELS):
        gaps = [Y[at] - E.quantiles[(*at, k)] for at in seen]
        by_level.append(2 * sum(max(q * d, (q - 1) * d) for d in gaps) / total)
    ours = weighted_quantile_loss(Y, E.quantiles, LEVELS)
    assert ours == pytest.approx(np.mean(by_level))


def test_the_median_alone_gives_the_normalised_deviation():
    seen = ~np.isnan(Y)
    expected = np.abs(Y - F)[seen].sum() / np.abs(Y[seen]).sum()
    assert weighted_quantile_loss(Y, F[..., None], [0.5]) == pytest.approx(expected)


def test_crps_of_large_values_keeps_its_digits():
    """Samples are centred first: 1e9 beside 1 would leave 7 digits."""
    shifted = crps(Y + 1e9, E.samples + 1e9)
    assert shifted == pytest.approx(crps(Y, E.samples), rel=1e-6)


def test_the_fair_crps_does_not_depend_on_the_number_of_samples():
    rng = np.random.default_rng(1)
    y, x = rng.normal(size=(20000, 1)), rng.normal(size=(20000, 1, 40))
    few, many = crps(y, x[..., :2]), crps(y, x)
    assert few == pytest.approx(many, abs=0.02)
    assert crps(y, x[..., :2], fair=False) > many + 0.2


@pytest.mark.parametrize("season", [1, SEASON])
def test_scale_is_the_seasonal_naive_error_of_the_history(season):
    x = E.histories[3]
    pairs = [abs(x[t] - x[t - season]) for t in range(season, T)]
    assert seasonal_scale([x], season)[0] == pytest.approx(np.nanmean(pairs))
    padded = np.concatenate([[NAN] * 3, x, [NAN] * 2])
    assert seasonal_scale([padded], season)[0] == pytest.approx(np.nanmean(pairs))


def test_rows_without_a_scale():
    scale = seasonal_scale([[1, 2, 1, 2, 1], [1, 2], [1, 2, 3, 5, 6]], season=2)
    np.testing.assert_array_equal(scale, [0, NAN, 8 / 3])
    truth, zeros = np.ones((3, 2)), np.zeros((3, 2))
    with pytest.raises(ValueError, match=r"scale\[0\] is 0.0, and so are 1 more"):
        mase(truth, zeros, scale)
    skipped = mase(truth, zeros, scale, unscaled="skip")
    assert skipped == pytest.approx(3 / 8)
    skipped = msis(truth, zeros, zeros + 2, scale, unscaled="skip")
    assert skipped == pytest.approx(2 / (8 / 3))
    with pytest.raises(ValueError, match="scale is 0 or NaN in every row"):
        mase(truth[:2], zeros[:2], scale[:2], unscaled="skip")
    # A row with nothing observed needs no scale.
    truth[:2] = NAN
    assert mase(truth, zeros, scale) == pytest.approx(3 / 8)


def test_owa_of_naive2_is_one():
    assert owa(9.0, 1.5, 9.0, 1.5) == 1
    assert owa(13.912, 1.193, 18.383, 2.395) == pytest.approx(0.627, abs=5e-4)


A, B = np.zeros((2, 3)), np.ones((2, 3))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mse([1.0], [1.0]), r"truth has shape \(1,\), expected \[N, H\]"),
        (lambda: mse(A, B[:, :2]), r"forecast has shape \(2, 2\), expected \[2, 3\]"),
        (lambda: mse(A, B[..., None]), r"expected \[2, 3\] for truth"),
        (lambda: mae(A * NAN, B), "no observed value"),
        (lambda: mae(A[:0], B[:0]), "no observed value"),
        (lambda: mae(A + np.inf, B), "truth has infinite values"),
        (lambda: smape(A, B * NAN), r"forecast\[0, 0\] is nan, expected a finite"),
        (lambda: rmse(A, B, average="rows"), "average='rows' must be one of 'points'"),
        (lambda: mse(A, B, average=""), "average='' must be one of 'points'"),
        (lambda: seasonal_scale(B, 0), "season=0, expected 1 or more"),
        (lambda: seasonal_scale([A], 1), r"histories\[0\] has shape \(2, 3\)"),
        (lambda: mase(A, B, [1.0]), "expected one scale for every row"),
        (lambda: mase(A, B, [1, -1]), "scale has negative or infinite"),
        (lambda: mase(A, B, [1, 0], unscaled="no"), "unscaled='no' must be one of"),
        (lambda: owa(1, 1, 0, 1), "naive2_smape=0 and naive2_mase=1, expected both ab"),
        (lambda: owa(1, NAN, 1, 1), "mase=nan, naive2_smape=1 and naive2_mase=1, expe"),
        (lambda: pinball(A, B, [0.5]), r"quantiles has shape .*, expected \[2, 3, Q\]"),
        (lambda: pinball(A, B[..., None], [0.1, 0.5]), "there are 2 levels"),
        (lambda: pinball(A, B[..., None], [50]), r"levels=\[50\], expected numbers be"),
        (lambda: weighted_quantile_loss(A, B[..., None], [0.5]), "value of truth is 0"),
        (lambda: crps(A, B[..., None]), "expected at least 2 samples for fair=True"),
        (lambda: crps(A, B), r"samples has shape \(2, 3\), expected \[2, 3, S\]"),
        (lambda: coverage(A, B, A), r"lower\[0, 0\] is 1.0, above upper\[0, 0\], 0.0"),
        (lambda: msis(A, A, B, [1, 1], level=95), "level=95, expected a number betwe"),
    ],
)
def test_what_does_not_fit(call, said):
    with pytest.raises(ValueError, match=said):
        call()
