"""Forecasts a real series that a package ships: carbon dioxide over Mauna Loa.

    pip install 'lstm-jax[forecast]' statsmodels
    python examples/forecast_package_data.py

`lstm_jax.Forecaster` trains as ``lstm-jax train forecast`` does, from a config of the
same keys. The last eight years are the test split. The seasonal naive forecast, the
values of one year ago, is computed beside the model. Months without a measurement stay
missing.
"""

import sys

import lstm_jax

SEASON = 12


def monthly():
    """The series as a frame with the columns ``ds`` and ``y``."""
    try:
        from statsmodels.datasets import co2
    except ImportError:
        print("The data are in statsmodels: pip install statsmodels", file=sys.stderr)
        raise SystemExit(2) from None
    weeks = co2.load_pandas().data["co2"]
    return weeks.resample("MS").mean().rename_axis("ds").rename("y").reset_index()


def config(steps, hidden_size):
    return {
        "model": {
            "context": 4 * SEASON,
            "horizon": SEASON,
            "segment": SEASON,
            "hidden_size": hidden_size,
        },
        "optimizer": {"learning_rate": 5e-3},
        "train": {
            "steps": steps,
            "batch_size": 32,
            "evaluate_every": max(1, steps // 6),
        },
        "data": {
            "valid_steps": 5 * SEASON,
            "test_steps": 8 * SEASON,
            "season": SEASON,
        },
    }


def main(steps=300, hidden_size=32):
    frame = monthly()
    forecaster = lstm_jax.Forecaster(config(steps, hidden_size), id=None)
    forecaster.fit(frame, verbose=False)
    found = forecaster.metrics
    print(f"{len(frame)} months, {frame['y'].isna().sum()} of them missing")
    print("test split         MASE    sMAPE")
    print(f"LSTM               {found['mase']:.3f}   {found['smape']:.3f}%")
    mase, smape = found["seasonal_naive_mase"], found["seasonal_naive_smape"]
    print(f"seasonal naive     {mase:.3f}   {smape:.3f}%")
    last = frame[-SEASON:]
    ahead = forecaster.predict(frame[:-SEASON])
    print("the last year      measured   forecast, a year ahead")
    for month in (0, 5, 11):
        row, value = last.iloc[month], ahead["y"].iloc[month]
        print(f"{row['ds']:%B %Y}".ljust(19) + f"{row['y']:.1f}      {value:.1f} ppm")
    return found | {"truth": last["y"].to_numpy(), "forecast": ahead["y"].to_numpy()}


if __name__ == "__main__":
    main()
