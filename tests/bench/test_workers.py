"""A contender that ends, fails or is not installed is said in a sentence."""

import itertools
import os
import signal

import numpy as np
import pytest

from lstm_jax.bench import race
from lstm_jax.bench.workers import Absent, BenchError, crew


def behave(how):
    """What a contender may do when it gets ready."""
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "exits":
        os._exit(3)
    if how == "missing":
        raise ImportError("No module named 'peer'")
    if how == "fails":
        raise KeyError("w_h")
    after = itertools.chain(["well"], itertools.repeat("killed"))
    dies = lambda: behave(next(after)) if how == "dies later" else None
    return {"forward": dies}, "ready"


@pytest.fixture(scope="module")
def workers():
    names = ("killed", "exits", "missing", "fails", "well", "dies later")
    with crew(dict.fromkeys(names, behave)) as workers:
        yield workers


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("killed", ["process of killed ended by signal SIGKILL", "memory", "--peers"]),
        ("exits", ["process of exits ended with exit status 3", "--peers"]),
        ("fails", ["fails failed with KeyError: 'w_h'"]),
    ],
)
def test_the_end_of_a_process(workers, name, parts):
    with pytest.raises(BenchError) as error:
        workers[name].build(name)
    assert all(part in str(error.value) for part in parts), error.value


def test_a_library_that_is_missing(workers):
    with pytest.raises(Absent, match="No module named 'peer'"):
        workers["missing"].build("missing")


def test_a_process_that_ends_while_it_is_timed(workers):
    worker = workers["dies later"]
    assert worker.build("dies later") == "ready"
    with pytest.raises(BenchError, match="process of dies later ended by signal"):
        worker.clock("forward")()


def test_a_worker_goes_on_after_a_case_it_does_not_support(workers):
    with pytest.raises(Absent):
        workers["well"].build("missing")
    assert workers["well"].build("well") == "ready"
    assert workers["well"].clock("forward")() >= 0


@pytest.mark.parametrize("wrong", [1.01, np.nan])
def test_who_computes_something_else_is_not_timed(wrong):
    hs = np.linspace(-1, 1, 5)
    race.check({"ours": {"hs": hs}, "theirs": {"hs": hs + 1e-5}})
    values = {"ours": {"hs": hs}, "theirs": {"hs": hs * wrong}}
    with pytest.raises(BenchError, match="theirs differs from ours in hs"):
        race.check(values)
