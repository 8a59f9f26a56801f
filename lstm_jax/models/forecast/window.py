"""What a forecaster reads: windows of series, cut at the forecast."""

from typing import Any, NamedTuple

import jax.numpy as jnp


class Window(NamedTuple):
    """``B`` windows, time-major: ``R`` steps before the forecast and ``H`` of it.

    What a model does not read may be left out.
    """

    y: Any
    """The values before the forecast ``[R, B]``, the last one last. Values that are not
    observed are not read, and may be NaN."""
    observed: Any = None
    """Which of these values there are, bool ``[R, B]``; ``None``: all."""
    series: Any = None
    """The index of the series of every row, int ``[B]``; -1, and ``None``, stands for a
    series that was not trained on."""
    known: Any = None
    """What is known ahead, calendar features and covariates, ``[R + H, B, K]``."""
    past: Any = None
    """Covariates that are known up to the forecast, ``[R, B, P]``."""
    static: Any = None
    """What never changes within a series, ``[B, S]``."""

    def complete(self, horizon: int) -> "Window":
        """The window with an array for everything that was left out.

        >>> import jax.numpy as jnp
        >>> Window(jnp.ones((5, 2))).complete(horizon=3).known.shape
        (8, 2, 0)
        """
        steps, rows = self.y.shape

        def there(array: Any, *shape: int) -> Any:
            return jnp.zeros(shape, self.y.dtype) if array is None else array

        everywhere = jnp.ones(self.y.shape, bool)
        return Window(
            y=self.y,
            observed=everywhere if self.observed is None else self.observed,
            series=jnp.full(rows, -1) if self.series is None else self.series,
            known=there(self.known, steps + horizon, rows, 0),
            past=there(self.past, steps, rows, 0),
            static=there(self.static, rows, 0),
        )


class Sizes(NamedTuple):
    """Sizes of the data that a model is built for."""

    series: int
    """``N``, the series that are trained on."""
    known: int = 0
    """``K``, features that are known ahead."""
    past: int = 0
    """``P``, features that are known up to the forecast."""
    static: int = 0
    """``S``, features that never change."""
