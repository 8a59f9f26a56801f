"""What a person sees while a run goes on: a live line, or plain lines in a log."""

import math
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn


class ProgressReport:
    """Loss, bits per token, tokens a second and time left.

    On a terminal a single live line; elsewhere a line at most every ``interval``
    seconds.
    """

    def __init__(self, steps: int, done: int, tokens_per_step: int, interval=5.0):
        self._console = Console()
        self._steps, self._first, self._tokens = steps, done, tokens_per_step
        self._interval = interval
        self._start = self._printed = time.monotonic()
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

    def update(self, step: int, loss: float) -> None:
        now = time.monotonic()
        speed = (step - self._first) * self._tokens / max(now - self._start, 1e-9)
        text = (
            f"loss {loss:.4f} · {loss / math.log(2):.3f} bits · {speed:,.0f} tokens/s"
        )
        if self._live:
            self._live.update(self._task, completed=step, description=text)
        elif now - self._printed >= self._interval or step == self._steps:
            self._printed = now
            left = (self._steps - step) * self._tokens / max(speed, 1e-9)
            self.say(f"step {step:,}/{self._steps:,} · {text} · {left:,.0f} s left")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(text, highlight=False, markup=False, soft_wrap=True)
