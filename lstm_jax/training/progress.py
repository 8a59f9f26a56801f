"""What a person sees while a run goes on: a live line, or plain lines in a log."""

import dataclasses
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lstm_jax.terminal import escape


@dataclasses.dataclass(frozen=True)
class Unit:
    """The words of a task: in what it says a loss, and what it counts.

    >>> import math
    >>> Unit("bits", lambda nats: nats / math.log(2)).say(math.log(2))
    '1.0000 bits'
    """

    name: str = ""
    """What a loss is said in; empty where it has no name."""
    convert: Callable[[Any], Any] = lambda loss: loss
    """From losses, one or an array of them, to what is said and drawn."""
    item: str = "sequences"
    """What a step takes a number of."""
    axis: str = "loss"
    """The label of a curve."""

    def say(self, loss: float) -> str:
        """A loss in this unit."""
        value = self.convert(loss)
        digits = f"{value:.4f}" if value >= 0.01 or not value else f"{value:.2e}"
        return f"{digits} {self.name}".rstrip()


PLAIN = Unit()


class ProgressReport:
    """Loss, speed and time left.

    On a terminal a single live line; elsewhere a line at most every ``interval``
    seconds.

    Args:
        steps: steps of the whole run.
        done: those before this start.
        items: what a step takes, in the words of ``unit``.
        unit: the words of the task.
        interval: see above.
    """

    def __init__(
        self,
        steps: int,
        done: int,
        items: int,
        unit: Unit = PLAIN,
        interval: float = 5.0,
    ):
        self._console = Console()
        self._steps, self._first, self._items = steps, done, items
        self._unit, self._interval = unit, interval
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

    def update(self, step: int, loss: float | None) -> None:
        """So far, with the loss of the last steps, if there is one."""
        loss = float("nan") if loss is None else loss
        now = time.monotonic()
        speed = (step - self._first) * self._items / max(now - self._start, 1e-9)
        said = f"loss {loss:.4f} · " * bool(self._unit.name) + self._unit.say(loss)
        text = f"{said} · {speed:,.0f} {self._unit.item}/s"
        if self._live:
            self._live.update(self._task, completed=step, description=text)
        elif now - self._printed >= self._interval or step == self._steps:
            self._printed = now
            left = (self._steps - step) * self._items / max(speed, 1e-9)
            self.say(f"step {step:,}/{self._steps:,} · {text} · {left:,.0f} s left")

    def say(self, text: str) -> None:
        """A line that stays."""
        self._console.print(escape(text), highlight=False, markup=False, soft_wrap=True)
