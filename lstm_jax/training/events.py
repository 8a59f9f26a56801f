"""Event files for TensorBoard; needs the extra ``plots``."""

import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lstm_jax.training.metrics_file import TIMES
from lstm_jax.training.run_errors import RunError, cannot_write


class Events:
    """Writes every metric as a scalar for TensorBoard.

    Args:
        directory: folder of the event files. Point TensorBoard at the folder of the
            run, or at a folder of many runs. Old event files are rewritten, because an
            interrupted run may have written events after its last checkpoint.
        before: the metrics so far.

    Raises:
        RunError: tensorboardX is not installed, or the disk is full.
    """

    def __init__(self, directory: Path, before: Iterable[Mapping[str, Any]]):
        # Do not use SummaryWriter: its thread ends when the disk is full, and later
        # writes then wait forever.
        try:
            from tensorboardX.event_file_writer import EventsWriter
        except ModuleNotFoundError as error:
            raise RunError(
                "train.tensorboard needs tensorboardX, which is not installed; "
                "pip install 'lstm-jax[plots]', or set train.tensorboard=false."
            ) from error
        self._directory = directory
        with self._writing():
            directory.mkdir(exist_ok=True)
            for path in directory.glob("events.out.tfevents.*"):
                path.unlink()
            self._writer = EventsWriter(str(directory / "events"))
        self(before)

    def __call__(self, lines: Iterable[Mapping[str, Any]]) -> None:
        with self._writing():
            for line in lines:
                self._write(line)
            self._writer.flush()

    def close(self) -> None:
        """Writes everything to disk."""
        with self._writing():
            self._writer.close()

    @contextlib.contextmanager
    def _writing(self):
        try:
            yield
        except OSError as error:
            kept = "what the run has saved is intact"
            raise cannot_write(self._directory, error, kept) from error

    def _write(self, line):
        from tensorboardX.proto import event_pb2
        from tensorboardX.summary import scalar

        when = line.get("time", time.time())  # runs of older versions have none
        messages: Any = event_pb2  # its classes exist only at run time
        for name, value in line.items():
            if name in ("step", *TIMES):
                continue
            several = isinstance(value, list)
            for n, one in enumerate(value if several else [value]):
                if one is None:  # of a seed that diverged
                    continue
                summary = scalar(f"{name}/{n}" if several else name, one)
                at = dict(step=line["step"], wall_time=when)
                self._writer.write_event(messages.Event(**at, summary=summary))
