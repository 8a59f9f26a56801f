"""Event files for TensorBoard; needs the extra ``plots``."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lstm_jax.training.record import RunError


class Events:
    """Writes every figure of every line of metrics as a scalar.

    Args:
        directory: where the event files are; TensorBoard takes the folder of the run,
            or one of many runs. What is in it is made anew, since an earlier start may
            have got further than its last checkpoint.
        before: the metrics so far.

    Raises:
        RunError: tensorboardX is not installed.
    """

    def __init__(self, directory: Path, before: Iterable[Mapping[str, Any]]):
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError as error:
            raise RunError(
                "train.tensorboard needs tensorboardX, which is not installed; "
                "pip install 'lstm-jax[plots]', or set train.tensorboard=false."
            ) from error
        for path in directory.glob("events.out.tfevents.*"):
            path.unlink()
        self._writer = SummaryWriter(str(directory))
        self(before)

    def __call__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        for line in lines:
            for name, value in line.items():
                self._add(name, value, line["step"])

    def close(self) -> None:
        """Until everything is on disk."""
        self._writer.close()

    def _add(self, name, value, step):
        if name == "step":
            return
        values = value if isinstance(value, list) else [value]
        for n, one in enumerate(values):
            tag = f"{name}/{n}" if isinstance(value, list) else name
            self._writer.add_scalar(tag, one, step)
