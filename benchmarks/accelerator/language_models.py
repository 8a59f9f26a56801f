"""How long is a training step of a published language model?

ptb_medium  two layers of 650, 10,000 words, plain SGD: `benchmarks.language_model`
awd         three layers with every dropout of the recipe: `benchmarks.awd_step`
"""

import functools
from typing import Any

from benchmarks import awd_step, language_model
from benchmarks.accelerator.contenders import Crew, Event, Pace, race

NAMES = ("lstm_jax", "nnx Optimized", "torch")
MEDIUM = language_model.Sizes(B=20, T=35, H=650, V=10_000)
TOLERANCE = 3e-2
"""Of the largest value. GPUs may multiply float32 in TF32, with 10 bits."""


def cases(setting):
    pace = Pace(repeats=15, budget=5.0, at_least=5)
    awd = (awd_step.build, tuple(awd_step.MODELS))
    found: dict[str, tuple[Any, tuple[str, ...], Any]] = {
        "ptb_medium": (medium_step, NAMES, MEDIUM),
        "awd": (*awd, awd_step.PUBLISHED),
    }
    if setting.dry_run:
        # tests/bench runs the steps of the other one.
        pace, found = Pace(repeats=2), {"awd": (*awd, awd_step.TINY)}
    result = {}
    for case, (build, who, sizes) in found.items():
        builds = {name: functools.partial(build, name) for name in who}
        crew = Crew(builds, setting.one_process)
        setting.until_end.callback(crew.close)
        event = Event(who[0], TOLERANCE, pace)
        result[case] = functools.partial(race, crew, list(who), who[0], event, sizes)
    return result


def medium_step(name, sizes):
    """In the process of a library: its step, and what the first one computes."""
    calls, (values, seconds, device) = language_model.built(name, sizes)
    facts = {"ready_seconds": seconds["turn"], "device": device}
    return {"step": calls["turn"]}, (values, facts)
