"""The config of a forecaster: its data, their splits, and its model."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, Tag

from lstm_jax.config import Count, PathText, config, kind_or
from lstm_jax.data.panel import Panel, PanelColumns, Split, read_panel
from lstm_jax.models.forecast.direct import DirectConfig
from lstm_jax.models.forecast.encoder_decoder import EncoderDecoderConfig
from lstm_jax.models.forecast.recursive import RecursiveConfig
from lstm_jax.tasks.forecast_weights import WeighBy
from lstm_jax.tasks.splits_config import Fraction
from lstm_jax.training.optimizer import Adam, OptimizerConfig
from lstm_jax.training.parallel import ParallelConfig
from lstm_jax.training.run_folder import RunConfig
from lstm_jax.training.trainer import TrainConfig

Percent = Annotated[float, Field(gt=0, lt=100)]


@config
class ForecastDataConfig:
    """The file, its columns, and which steps train, validate and test."""

    path: PathText = ""
    """A CSV or Parquet file."""
    id: str = ""
    """The column that says which series a row belongs to; empty: every target is one
    series, with a row per step."""
    time: str = "ds"
    """The column of the times: dates, ISO texts or whole numbers."""
    target: tuple[str, ...] = ("y",)
    """The columns to forecast."""
    past: tuple[str, ...] = ()
    """Columns of numbers that are known up to the forecast, such as the temperature."""
    future: tuple[str, ...] = ()
    """Columns of numbers that are known ahead, such as prices or holidays. New data for
    a forecast end with rows that have them and no target."""
    static: tuple[str, ...] = ()
    """Columns of numbers or texts that never change within a series."""
    calendar: bool = True
    """Whether the hour of the day, the day of the week and so on are read, for models
    that read what is known ahead."""
    standardise: bool = True
    """Whether the model reads every series less its mean and divided by its standard
    deviation; false for counts."""
    logarithm: bool = False
    """Whether the model reads logarithms instead, so that errors are relative to the
    values, as in sMAPE; for values above 0. `standardise` is then not read."""
    frequency: str = ""
    """An alias of pandas, such as `h`, `15min`, `D`, `W-SUN` or `MS`, or a whole
    number; empty: told from the times."""
    weigh_by: WeighBy = "none"
    """What an error counts in the loss: as read, or as `mase`, `smape` or `owa` count
    it; see `lstm_jax.tasks.forecast_weights`. For models that say all steps at once, by
    the absolute error or quantiles."""
    valid_fraction: Fraction = 0.1
    """Fraction of the steps of every series to validate on; ignored if `train_steps`,
    `valid_steps` or `test_steps` is set."""
    test_fraction: Fraction = 0.2
    """Fraction of the steps of every series to test on, its last ones; ignored if
    `train_steps`, `valid_steps` or `test_steps` is set. 0: the results are those of
    validation."""
    train_steps: NonNegativeInt = 0
    """Steps of every series to train on; 0: all before those of `valid` and `test`.
    Steps after those of `test` are left out."""
    valid_steps: NonNegativeInt = 0
    """Steps of every series to validate on. If `train_steps`, `valid_steps` and
    `test_steps` are all 0, `valid_fraction` and `test_fraction` apply."""
    test_steps: NonNegativeInt = 0
    """Steps of every series to test on."""
    min_context: NonNegativeInt = 0
    """Steps there must be before a forecast, from the first value of a series on; 0:
    all of `model.context`. With fewer, the model reads a shorter context."""
    season: NonNegativeInt = 0
    """Steps of a season, for the seasonal baseline and MASE; 0: the usual one of the
    frequency, such as 24 of hours."""

    def __post_init__(self):
        columns = (*((self.id,) if self.id else ()), self.time, *self.target)
        columns += self.past + self.future + self.static
        if not self.target or "" in columns or len({*columns}) < len(columns):
            raise ValueError(
                f"id, time, target, past, future and static name the columns "
                f"{columns}; name every column once, and at least one target"
            )
        if self.train_steps and not (self.valid_steps and self.test_steps):
            raise ValueError(
                f"train_steps={self.train_steps}, valid_steps={self.valid_steps} and "
                f"test_steps={self.test_steps}; set all three, or no train_steps"
            )

    @property
    def columns(self) -> PanelColumns:
        """The names of the columns."""
        return PanelColumns(
            id=self.id or None,
            time=self.time,
            targets=self.target,
            past=self.past,
            future=self.future,
            static=self.static,
        )

    @property
    def split(self) -> Split:
        """Which steps train, validate and test."""
        if self.train_steps or self.valid_steps or self.test_steps:
            train = self.train_steps or None
            return Split(train, self.valid_steps, self.test_steps)
        train = 1 - self.valid_fraction - self.test_fraction
        return Split(train, self.valid_fraction, self.test_fraction)

    @property
    def step(self) -> str | int | None:
        """The frequency; ``None`` if it is told from the times."""
        rule = self.frequency
        return int(rule) if rule.isdecimal() else rule or None

    def read(self, path: str) -> Panel:
        """The series of a file."""
        return read_panel(path, self.columns, self.step)


Model = Annotated[
    Annotated[DirectConfig, Tag("direct")]
    | Annotated[RecursiveConfig, Tag("recursive")]
    | Annotated[EncoderDecoderConfig, Tag("encoder_decoder")],
    kind_or("direct"),
]
"""The kinds of models."""


@config
class ForecastEvaluationConfig:
    """How a split is evaluated."""

    batch_size: Count = 1024
    """Windows at a time; the metrics do not depend on it."""
    step: Count = 1
    """Steps from one window of a series to the next, the last one ending with the
    split; 1: all windows."""
    owa: bool = False
    """Whether OWA of the M4 competition is a metric: sMAPE and MASE as parts of those
    of its benchmark Naive2, which is forecast for every window."""
    conformal: tuple[Percent, ...] = ()
    """Levels of conformal intervals in percent, such as `[80, 95]`. Their coverage of
    the test split is a metric. They are calibrated on the validation split and on the
    test windows before each forecast."""
    conformal_windows: Count = 500
    """How many windows of every series calibrate conformal intervals, the newest ones.
    Fewer follow drift faster; more give steadier intervals."""


@config
class ForecastingConfig:
    """A forecaster, from files to checkpoint."""

    task: Literal["forecasting"] = "forecasting"
    """This task."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of all random numbers."""
    data: ForecastDataConfig = ForecastDataConfig()
    model: Model = DirectConfig()
    optimizer: OptimizerConfig = Adam()
    train: TrainConfig = TrainConfig()
    evaluation: ForecastEvaluationConfig = ForecastEvaluationConfig()
    parallel: ParallelConfig = ParallelConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self):
        if self.model.counts and self.data.standardise:
            raise ValueError(
                f"data.standardise is true and the head {self.model.head.kind} "
                f"forecasts counts; set data.standardise=false"
            )
        if self.model.counts and self.data.logarithm:
            raise ValueError(
                f"data.logarithm is true and the head {self.model.head.kind} forecasts "
                f"counts; leave data.logarithm out"
            )
        if self.data.weigh_by != "none" and not self.model.absolute:
            raise ValueError(
                f"data.weigh_by is {self.data.weigh_by!r}, but the model's loss is not "
                f'the absolute error; set model.kind="direct" and '
                f'model.head.loss="mae", or leave data.weigh_by out'
            )
        kinds = {"known": "future", "past": "past", "static": "static"}
        for kind, key in kinds.items():
            if getattr(self.data, key) and kind not in self.model.reads:
                raise ValueError(
                    f"data.{key} names columns, which model.kind={self.model.kind!r} "
                    f'does not read; set model.kind="encoder_decoder", or leave '
                    f"data.{key} out"
                )
