"""Event files for TensorBoard; needs the extra ``plots``."""

import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from lstm_jax.training.run_folder import TIMES, RunError, cannot_write


class Events:
    """Writes every figure of every line of metrics as a scalar.

    Args:
        directory: where the event files are; TensorBoard takes the folder of the run,
            or one of many runs. What is in it is made anew, since an earlier start may
            have got further than its last checkpoint.
        before: the metrics so far.

    Raises:
        RunError: tensorboardX is not installed, or the disk is full.
    """

    def __init__(self, directory: Path, before: Iterable[Mapping[str, Any]]):
        # Not SummaryWriter: its thread ends where the disk is full, and whoever has
        # more to write then waits for it without end.
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
        """Until everything is on disk."""
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
        messages: Any = event_pb2  # made when it is imported, unknown before
        for name, value in line.items():
            if name in ("step", *TIMES):
                continue
            several = isinstance(value, list)
            for n, one in enumerate(value if several else [value]):
                if one is None:  # of a seed that is over
                    continue
                summary = scalar(f"{name}/{n}" if several else name, one)
                at = dict(step=line["step"], wall_time=when)
                self._writer.write_event(messages.Event(**at, summary=summary))
