"""Progress during training: a live line on a terminal, or plain lines in a log."""

import time
from collections import deque
from collections.abc import Mapping

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lstm_jax.terminal import escape
from lstm_jax.training.metrics import PLAIN, Metrics, number

RECENT = 20
"""Speed and time left are those of so many of the last updates."""


class ProgressReport:
    """Metrics, speed and time left.

    A terminal shows one live line. A log gets a line at most every ``interval``
    seconds.

    Args:
        steps: number of steps of the whole run.
        done: number of steps before this start.
        items_per_step: number of items in a step.
        items: name of the items, such as "tokens".
        metrics: the metrics that may occur, and how to show them.
        interval: seconds between two lines of a log.
    """

    def __init__(
        self,
        steps: int,
        done: int,
        items_per_step: int,
        items: str = "sequences",
        metrics: Metrics = PLAIN,
        interval: float = 5.0,
    ):
        self._console = Console()
        self._steps, self._first = steps, done
        self._items_per_step, self._items = items_per_step, items
        self._metrics, self._interval = metrics, interval
        self._printed = time.monotonic()
        self._recent = deque([(self._printed, done)], maxlen=RECENT)
        self._live = None
        if self._console.is_terminal:
            self._live = Progress(
                TextColumn("step {task.completed:,}/{task.total:,}"),
                BarColumn(),
                TextColumn("{task.description}"),
                TimeRemainingColumn(),
                console=self._console,
            )
            self._task = self._live.add_task("", total=steps, completed=done)

    def __enter__(self):
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_):
        if self._live:
            self._live.stop()

    def update(self, step: int, values: Mapping[str, float | None]) -> None:
        """Shows the step, and the mean metrics of the last steps, if there are any."""
        now = time.monotonic()
        self._recent.append((now, step))
        if self._recent[0][1] == self._first and len(self._recent) > 2:
            self._recent.popleft()  # the first steps were compiled
        then, before = self._recent[0]
        done = (step - before) * self._items_per_step
        speed = done / max(now - then, 1e-9)
        text = f"{self._said(values)} · {speed:,.0f} {self._items}/s"
        if self._live:
            self._live.update(self._task, completed=step, description=text)
        elif now - self._printed >= self._interval or step == self._steps:
            self._printed = now
            left = (self._steps - step) * self._items_per_step / max(speed, 1e-9)
            self.say(f"step {step:,}/{self._steps:,} · {text} · {left:,.0f} s left")

    def _said(self, values):
        """Text of every metric, and of metrics that are computed from it."""
        said = []
        for name, value in values.items():
            value = float("nan") if value is None else value
            said.append(f"{name.replace('_', ' ')} {number(value)}")
            derived = [m for m in self._metrics.values() if m.of == name]
            said += [metric.say(value) for metric in derived]
        return " · ".join(said)

    def say(self, text: str) -> None:
        """Prints a line that stays on the terminal."""
        self._console.print(escape(text), highlight=False, markup=False, soft_wrap=True)
