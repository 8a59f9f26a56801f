"""The stages, the most important first: a run that is cut loses the least."""

from collections.abc import Sequence
from typing import NamedTuple

MINUTES = 8.0
"""Of a run, unless another number is asked for."""


class Stage(NamedTuple):
    """A question, answered by the cases of a module in a process of its own."""

    name: str
    module: str
    """Has ``cases(setting)``; see `benchmarks.accelerator.child`."""
    asks: str
    seconds: int
    """Planned, in a run of 8 minutes; other runs have as much more or less."""
    case_seconds: float = 60
    """After so long without a row the process is ended, and the next case begins. A
    longer run waits longer, a shorter one does not wait less."""
    required: bool = False
    """Whether a case for which no time is left makes the run fail: correctness."""


def _stage(module, *facts, **options):
    return Stage(module, f"{__package__}.{module}", *facts, **options)


STAGES = (
    _stage(
        "numbers",
        "Are the numbers right, and what does the matmul precision change?",
        seconds=60,
        required=True,
    ),
    _stage(
        "checks",
        "Do the tests of the mathematics pass on this device?",
        seconds=140,
        case_seconds=120,
        required=True,
    ),
    _stage(
        "trainings",
        "Does every task train, stop and resume?",
        seconds=70,
        case_seconds=60,
        required=True,
    ),
    _stage(
        "one_layer",
        "How long is a training step of one layer, by implementation and library?",
        seconds=110,
        # Before the first row, all libraries start and compile.
        case_seconds=150,
    ),
    _stage(
        "unrolled",
        "Do several steps of the scan in one turn of its loop save time?",
        seconds=20,
    ),
    _stage(
        "newton",
        "When is Newton's method faster than the scan over a long sequence?",
        seconds=35,
    ),
    _stage(
        "language_models",
        "How long is a training step of a published language model?",
        seconds=45,
    ),
)


def deadlines(stages: Sequence[Stage], minutes: float) -> list[float]:
    """Seconds from the start at which each stage has to end.

    A stage may also use the time that the stages before it left.
    """
    whole, spent, ends = sum(stage.seconds for stage in stages), 0, []
    for stage in stages:
        spent += stage.seconds
        ends.append(60 * minutes * spent / whole)
    return ends


def patient(stage: Stage, minutes: float) -> Stage:
    """The stage as a run of so many minutes waits for its rows."""
    longer = max(1.0, minutes / MINUTES)
    return stage._replace(case_seconds=longer * stage.case_seconds)


def listing(stages: Sequence[Stage], minutes: float) -> str:
    """A line for each stage: its seconds, its name and its question."""
    scale = 60 * minutes / sum(stage.seconds for stage in stages)
    lines = [f"{s.seconds * scale:5.0f} s  {s.name:16} {s.asks}" for s in stages]
    return "\n".join(lines)
