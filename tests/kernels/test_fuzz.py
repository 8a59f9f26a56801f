"""A small part of what `benchmarks.fuzz_kernel` draws, and a fault that it finds."""

import numpy as np

from benchmarks import fuzz_kernel


def test_the_kernel_agrees():
    """First derivatives in bfloat16 under ``vmap``, and second ones."""
    kinds = [("first", "bfloat16", "rows"), ("second", "float32", "none")]
    numbers = [first_program(*kind) for kind in kinds]
    report = fuzz_kernel.fuzz(0, numbers, cases=8, each=4)
    assert report["cases"] == 8
    assert report["disagreements"] == 0
    assert all(0 < kind["worst"] < 1 for kind in report["kinds"].values())


def test_a_fault_is_found(monkeypatch):
    lstm = fuzz_kernel.lstm

    def wrong(*args, implementation, **options):
        carry, hs = lstm(*args, implementation=implementation, **options)
        return carry, hs + (1e-4 if implementation == "native" else 0)

    monkeypatch.setattr(fuzz_kernel, "lstm", wrong)
    number = first_program("first", "float32", "none")
    assert fuzz_kernel.fuzz(0, [number], cases=4, each=4)["disagreements"] == 4


def first_program(figure, dtype, vmap):
    """The number of the first small one of this kind."""
    for number in range(1000):
        program = fuzz_kernel.draw_program(np.random.default_rng([0, number]))
        kind = program.figure, program.dtype, program.vmap
        rows = np.prod(program.batch)
        if kind == (figure, dtype, vmap) and 0 < rows * program.T < 100:
            return number
    raise AssertionError("no such program")
