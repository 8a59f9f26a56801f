"""What the models have in common that forecast all steps at once, and draw nothing."""

from typing import TYPE_CHECKING, Any, Self

from lstm_jax._types import Array, Float, Key
from lstm_jax.models.forecast.window import Window
from lstm_jax.nn.module import Module


class AllAtOnceConfig:
    """The answers that a task asks the config of a model for; no fields."""

    if TYPE_CHECKING:  # fields of the configs
        context: int
        dropout: float
        num_layers: int
        head: Any

    counts = False
    """Values are no counts."""

    @property
    def absolute(self) -> bool:
        """Whether the loss is the absolute error, of one number or of quantiles."""
        return getattr(self.head, "loss", "mae") == "mae"

    def __post_init__(self):
        if self.dropout and self.num_layers == 1:
            raise ValueError(
                f"dropout={self.dropout} acts between layers, but num_layers is 1; "
                f"set output_dropout"
            )

    def with_lags(self, usual: tuple[int, ...]) -> Self:
        """The config itself: the model has no lags."""
        del usual
        return self

    @property
    def history(self) -> int:
        """``R``, steps before the forecast that are read."""
        return self.context

    @property
    def levels(self) -> tuple[float, ...]:
        """The levels of the quantiles that are forecast."""
        return self.head.levels


class AllAtOnce(Module):
    """Losses and forecasts of a model whose call returns forecasts ``[H, B, Q]``.

    A subclass has ``config`` and ``__call__(window, *, key, deterministic)``.
    """

    if TYPE_CHECKING:
        config: Any

        def __call__(
            self,
            window: Window,
            *,
            key: Key[Array, ""] | None = None,
            deterministic: bool | None = None,
        ) -> Float[Array, "H B Q"]: ...

    def losses(
        self,
        window: Window,
        truth: Float[Array, "H B"],
        there: Float[Array, "H B"],
        *,
        key: Key[Array, ""] | None = None,
        deterministic: bool | None = None,
    ) -> tuple[Array, Array]:
        """The loss of every step of the horizon and its weight, ``[H, B]`` each.

        Args:
            window: what is read.
            truth: the values of the horizon.
            there: 1 where there is a truth, else 0.
            key: key of dropout in training.
            deterministic: as in `lstm_jax.nn.Recurrent`.
        """
        forecast = self(window, key=key, deterministic=deterministic)
        return self.config.head.errors(forecast, truth), there

    def forecast(
        self,
        window: Window,
        keys: Key[Array, "B"],
        horizon: int,
        levels: tuple[float, ...],
    ) -> Float[Array, "H B Q"]:
        """The forecast: a number, or quantiles in increasing order.

        Args:
            window: what is read.
            keys: not used: nothing is drawn.
            horizon: steps to forecast, at most those of the config.
            levels: which quantiles, of those of the head.
        """
        del keys
        head = self.config.head
        found = head.ordered(self(window, deterministic=True))[:horizon]
        return found[..., [head.levels.index(q) for q in levels]] if levels else found
