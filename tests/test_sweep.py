"""``lstm-jax sweep``: words, trials, resumption, workers that are killed."""

import dataclasses
import json
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from benchmarks import sweep_kills
from lstm_jax import cli
from lstm_jax.config import ConfigError, read
from lstm_jax.runs.configs import read_config
from lstm_jax.runs.shipped import read_named
from lstm_jax.sweeps import trial as sweep_trial
from lstm_jax.sweeps.plan import Plan
from lstm_jax.sweeps.report import rows
from lstm_jax.sweeps.space import fitted, parse
from lstm_jax.sweeps.study import Sweep
from lstm_jax.training.metadata import Monitor
from lstm_jax.training.trainer import Diverged
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")

RATE = "optimizer.learning_rate=log:1e-3..1e-1"
DOCS = Path(__file__).parents[1] / "docs" / "howto" / "sweep.md"


@pytest.fixture
def config(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tiny.write_memory(tmp_path)[0]


def said(capsys, *argv, status=0):
    capsys.readouterr()
    assert cli.main(["sweep", *argv]) == status
    out = capsys.readouterr()
    assert "Traceback" not in out.err
    return out.err if status == 2 else out.out


def plan_of(config, *words, monitor=None, **settings):
    """A plan without reading any data."""
    words = fitted(parse(words), read(config))
    base = read_config(read(config), words.constants)
    return Plan(*words, base, monitor or Monitor(), **settings)


# Words


class Lowest:
    """Stands for a trial of optuna; gives the lowest value, and keeps what it is
    asked."""

    def suggest_int(self, key, low, high, *, log):
        return self.suggest_float(key, low, high, log=log)

    def suggest_float(self, key, low, high, *, log):
        self.asked = (low, high, log)
        return low

    def suggest_categorical(self, key, values):
        self.asked = values
        return values[-1]


@pytest.mark.parametrize(
    ("word", "asked", "override"),
    [
        ("a.b=log:1e-4..1e-2", (1e-4, 1e-2, True), "a.b=0.0001"),
        ("a.b=log:8..512", (8, 512, True), "a.b=8"),
        ("a.b=0..0.5", (0, 0.5, False), "a.b=0"),
        ("a.b=-1..1", (-1, 1, False), "a.b=-1"),
        ("a.b=.5..1.5", (0.5, 1.5, False), "a.b=0.5"),
        ("a.b= 1 .. 4 ", (1, 4, False), "a.b=1"),
        ("a.b=16,32, 64", ("16", "32", "64"), "a.b=64"),
        ("a.b=true,false", ("true", "false"), "a.b=false"),
        ('a.b="x,y","z"', ('"x,y"', '"z"'), 'a.b="z"'),
        ("a={k = [1, 2]},{k = [3]}", ("{k = [1, 2]}", "{k = [3]}"), "a={k = [3]}"),
    ],
)
def test_a_word_that_varies(word, asked, override):
    (space,), constants = parse([word])
    trial = Lowest()
    assert space.suggest(trial) == override
    assert trial.asked == asked
    assert constants == ()


@pytest.mark.parametrize(
    "word",
    ["a=3", "a=../data/text", "a=[1, 2]", 'a="x,y"', "a={k = [1, 2], m = 3}", "a=1.5"],
)
def test_a_word_that_does_not(word):
    spaces, constants = parse([word, "seed=1,2"])
    assert [space.key for space in spaces] == ["seed"]
    assert constants == (word,)


def test_whole_numbers_only_for_keys_that_take_no_others(config):
    words = parse(["model.hidden_size=2..8", "optimizer.learning_rate=1..2"])
    size, rate = fitted(words, read(config)).spaces
    assert size.whole
    assert not rate.whole


REFUSED = [
    ("model.hiden_size=2..4", ["unknown key model.hiden_size", "mean hidden_size?"]),
    ("trian.steps=2,4", ["unknown key trian", "did you mean train?"]),
    ("train.steps=0..4", ["train.steps is 0", "greater than or equal to 1"]),
    ("model.hidden_size=2.5..4.5", ["model.hidden_size is 2.5", "integer"]),
    ("model.cell=lstm,lstn", ["model.cell is 'lstn'", "did you mean lstm?"]),
    ("optimizer.momentum=0..1", ["momentum of kind 'adam'", "that have it: sgd"]),
    ("optimizer.learning_rate=log:0..1", ["0 has no logarithm", "start above 0"]),
    ("optimizer.learning_rate=log:1", ["not a range of numbers", "log:LOW..HIGH"]),
    ("optimizer.learning_rate=0.1..0.01", ["0.1 is not below 0.01"]),
    ("optimizer.learning_rate=0.1..0.1", ["0.1 is not below 0.1"]),
    ("optimizer.learning_rate=1..inf", ["not a range of numbers"]),
    ("optimizer.learning_rate=1..x", ["not a range of numbers", "0..0.5"]),
    ("train.batch_size=4,,8", ["a value is missing beside a comma"]),
    ("train.batch_size=4,8,4", ["a value appears twice"]),
    ("train.steps=9", ["no key varies"]),
    ("train.monitor=valid_loss,valid_right", ["train.monitor", "one metric"]),
    ("task=memory,tagging", ["same task"]),
    ("seed=1,2 seed=3", ["seed appears twice"]),
    ("seed=1,2 run.directory=x", ["run.directory", "--directory"]),
    ("seed=1,2 train.monitor=valid_los", ["valid_los", "valid_right"]),
    ("sead seed=1,2", ["'sead' is not of the form key.path=value"]),
]


@pytest.mark.parametrize(("words", "parts"), REFUSED, ids=[w for w, _ in REFUSED])
def test_what_is_refused(config, capsys, words, parts):
    error = said(capsys, config, *words.split(" "), status=2)
    assert error.startswith("lstm-jax: ")
    for part in parts:
        assert part in error
    assert not Path("runs").exists()


def test_a_key_of_a_kind_that_another_word_chooses(config):
    words = parse(["optimizer.kind=adam,sgd", "optimizer.momentum=0.1..0.9"])
    assert fitted(words, read(config)).spaces
    words = parse(["optimizer.kind=adam,sgd", "optimizer.momentum=0.1..1.5"])
    with pytest.raises(ConfigError, match=r"momentum is 1\.5"):
        fitted(words, read(config))


def test_without_optuna(config, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    error = said(capsys, config, RATE, status=2)
    assert "pip install 'lstm-jax[sweep]'" in error


def test_the_commands_of_the_docs_are_sweeps():
    lines = re.findall(r"^lstm-jax sweep .*$", DOCS.read_text(), flags=re.MULTILINE)
    assert len(lines) == 2
    for line in lines:
        args = cli._parse(shlex.split(line)[1:])
        assert fitted(parse(args.overrides), read_named(args.base)).spaces


# A sweep


@pytest.fixture(scope="module")
def swept(optax_promotion, tmp_path_factory):
    """A sweep of two trials with two seeds each; its config, folder and command."""
    folder = tmp_path_factory.mktemp("swept")
    config, directory = tiny.write_memory(folder)[0], folder / "sweep"
    command = [config, RATE, "model.hidden_size=2,4", "train.seeds=2", "train.steps=6"]
    command += ["--directory", str(directory), "--trials=2"]
    assert cli.main(["sweep", *command]) == 0
    return config, directory, command


def test_every_trial_is_a_run(swept, capsys):
    _, directory, _ = swept
    runs = sorted(path.name for path in directory.glob("trial-*"))
    assert runs == ["trial-000", "trial-001"]
    assert cli.main(["runs", str(directory)]) == 0
    assert capsys.readouterr().out.count("complete") == 2


def test_the_value_is_the_mean_over_seeds_of_their_best(swept, config):
    _, directory, _ = swept
    for trial in sweep_kills.trial_lines(directory):
        lines = tiny.metrics(Path(trial["directory"]))
        each = [m["valid_loss_each"] for m in lines if "valid_loss_each" in m]
        assert len(each) == 2
        assert trial["value"] == np.min(each, axis=0).mean()
    # Each seed has its best at another step; a seed that diverges later keeps its best.
    each = [[3.0, 1.0], [2.0, 5.0], [4.0, None]]
    lines = [
        {"step": 3 * n, "valid_loss": 9.0, "valid_loss_each": values}
        for n, values in enumerate(each, start=1)
    ]
    base = read_config(read(config), ["train.seeds=2"])
    value = lambda lines: sweep_trial.value_of(
        SimpleNamespace(evaluations=lambda: lines), base, Monitor()
    )
    assert value(lines) == 1.5
    with pytest.raises(Diverged, match="seed 1 diverged before its first"):
        value(lines[2:])


def test_the_table_is_the_best_first(swept, capsys):
    config, directory, command = swept
    text = said(capsys, *command, "--show")
    lines = (directory / "sweep.jsonl").read_text().splitlines()
    order = [json.loads(line) for line in lines]
    assert [trial["value"] for trial in order] == sorted(t["value"] for t in order)
    shown = re.findall(r"^ (\d) +complete", text, flags=re.MULTILINE)
    assert shown == [str(trial["number"]) for trial in order]
    best = order[0]["overrides"]
    folder = f"run.directory={directory}-best"
    again = shlex.join(["lstm-jax", "train", config, *command[3:5], *best, folder])
    assert f"train it again: {again}\n" in text
    for name in ("history", "optimizer.learning_rate", "model.hidden_size"):
        assert (directory / f"{name}.png").stat().st_size > 1000


def test_the_same_command_trains_nothing(swept, capsys):
    _, directory, command = swept
    times = [path.stat().st_mtime for path in sorted(directory.glob("trial-*/*"))]
    text = said(capsys, *command)
    assert "trial 0 of" not in text
    assert times == [p.stat().st_mtime for p in sorted(directory.glob("trial-*/*"))]


@pytest.mark.parametrize(
    ("old", "new", "parts"),
    [
        (RATE, "seed=1..9", ["another space", f"is {RATE.split('=')[1]} there"]),
        (
            "model.hidden_size=2,4",
            "model.hidden_size=2,8",
            ["another space", "2,8 here"],
        ),
        ("train.steps=6", "train.steps=9", ["another config", "train.steps is 6"]),
        ("train.steps=6", "--seed=1", ["another config", "train.steps is 6 there"]),
        ("--trials=2", "--seed=1", ["another setting", "--seed is 0 there"]),
        (
            "--trials=2",
            "train.monitor=valid_right",
            ["another config", "train.monitor is valid_loss there"],
        ),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_another_sweep_in_the_same_folder(swept, capsys, old, new, parts, workers):
    _, directory, command = swept
    command = [new if word == old else word for word in command]
    error = said(capsys, *command, "--workers", workers, status=2)
    assert f"{directory} is a sweep of another" in error
    for part in parts:
        assert part in error


def test_a_folder_of_something_else(config, capsys, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    for workers in ("1", "2"):
        command = [config, RATE, "--directory", "mine", "--workers", workers]
        error = said(capsys, *command, status=2)
        assert "mine is not a sweep, but holds notes.txt" in error
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    (tmp_path / "mine" / "study.db").write_text("not a database, but long enough")
    error = said(capsys, config, RATE, "--directory", "mine", status=2)
    assert "cannot use mine/study.db" in error
    assert "holds no sweep" in said(capsys, config, "--show", status=2)


def test_the_metric_says_what_is_better(config, tmp_path):
    """By one metric the highest value is best, by another the lowest. A larger number
    of trials adds trials."""
    for better, order in (("lower", [1, 2, 0]), ("higher", [0, 2, 1])):
        plan = plan_of(config, "seed=1,2", monitor=Monitor(name="m", better=better))
        sweep = Sweep.start(tmp_path / better, plan)
        for value in (3.0, 1.0, 2.0):
            trial = sweep.claim(plan, 3)
            trial.complete(value)
            trial.give_back()
        assert [row.number for row in rows(sweep)] == order
        assert sweep.study.best_trial.number == order[0]
        assert sweep.claim(plan, 3) is None
        assert sweep.claim(plan, 4).number == 3


def test_trials_that_cannot_be_trained_fail_alone(config, capsys):
    """By a config that does not fit, or because they diverge."""
    words = ["optimizer.accumulate=1,5", "optimizer.learning_rate=1e30,0.01"]
    words += ["optimizer.clip_norm=none", "--sampler", "random", "--trials", "6"]
    words += ["train.steps=6"]
    text = said(capsys, config, *words)
    trials = sweep_kills.trial_lines(Path("runs/memory-sweep"))
    assert len(trials) == 6
    kinds = {(*t["overrides"], t["state"]) for t in trials}
    fits, good = "optimizer.accumulate=1", "optimizer.learning_rate=0.01"
    for accumulate, rate, state in kinds:
        assert state == ("complete" if (accumulate, rate) == (fits, good) else "failed")
    reasons = [trial["reason"] for trial in trials if trial["reason"]]
    assert any("not a multiple" in reason for reason in reasons)
    assert any("at step" in reason for reason in reasons)
    for reason in reasons:
        assert f"failed: {reason}" in text


# Interruptions


def test_ctrl_c_and_on(config, capsys, monkeypatch):
    """The trial that was interrupted continues from its checkpoint."""
    command = [config, RATE, "--sampler", "random", "--directory"]
    assert cli.main(["sweep", *command, "whole", "--trials", "1"]) == 0
    with monkeypatch.context() as patch:
        tiny.interrupt_at(patch, 8)
        text = said(capsys, *command, "cut", "--trials", "1", status=130)
    (again,) = re.findall(r"go on with: lstm-jax (.*)", text)
    assert "interrupted" in said(capsys, config, "--show", "--directory", "cut")
    assert cli.main(shlex.split(again)) == 0
    run = json.loads(Path("cut/trial-000/run.json").read_text())
    assert run["resumed"][0]["step"] == 8
    whole = sweep_kills.trial_lines(Path("whole"))
    assert sweep_kills.faults(Path("cut"), whole, kills=1, steps=12) == []


class Killed(BaseException):
    """Ends a process in the middle of something."""


def _kill(*args, **kwargs):
    raise Killed


@pytest.mark.parametrize("moment", ["create", "ask", "suggest", "train", "tell"])
def test_a_process_that_ends_at_any_moment(config, tmp_path, monkeypatch, moment):
    """The next process has the same trial, with the same values."""
    words = [RATE, "model.hidden_size=2..9", "optimizer.clip_norm=0.5..2"]
    plan = plan_of(config, *words, sampler="random")
    expected = Sweep.start(tmp_path / "whole", plan).claim(plan, 2).sampled
    places = {
        "create": (optuna.study.Study, "set_user_attr"),
        "ask": (optuna.trial.Trial, "suggest_float"),
        "suggest": (optuna.trial.Trial, "suggest_int"),
        "train": (sweep_trial, "train_run"),
        "tell": (optuna.study.Study, "tell"),
    }

    def process():
        sweep = Sweep.start(tmp_path / "cut", plan)
        trial = sweep.claim(plan, 2)
        if moment == "train":
            sweep_trial.train_trial(trial, sweep.monitor, read(config))
        trial.complete(1.0)

    with monkeypatch.context() as patch:
        patch.setattr(*places[moment], _kill)
        with pytest.raises(Killed):
            process()
    sweep = Sweep.start(tmp_path / "cut", plan)
    trial = sweep.claim(plan, 2)
    assert trial.number == 0
    assert len(sweep.trials()) == 1
    if moment == "suggest":  # the first value was sampled, the others are sampled anew
        assert trial.sampled[0] == expected[0]
    else:
        assert trial.sampled == expected
    trial.complete(1.0)
    trial.give_back()
    assert sweep.claim(plan, 2).number == 1
    assert not sweep.is_done(2)


def test_a_trial_is_claimed_once(config, tmp_path):
    """Locks are of processes, so another process asks for the claims."""
    plan = plan_of(config, "seed=1..9")
    sweep = Sweep.start(tmp_path / "sweep", plan)
    assert sweep.claim(plan, 2).number == 0
    script = (
        "import pathlib, sys; from lstm_jax.sweeps.claims import Claims; "
        "take = Claims(pathlib.Path(sys.argv[1])).take; print(take(0), take(1))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "sweep" / "claims")]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]


needs_proc = pytest.mark.skipif(
    not Path("/proc/self/task").is_dir(), reason="workers are found in /proc"
)


@needs_proc
def test_killed_workers_lose_no_trial_and_repeat_none(tmp_path):
    """Two workers are killed, then two terminals; the result is that of one process
    that nothing killed."""
    config = sweep_kills.write(tmp_path, steps=120)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    status, text = sweep_kills.Command(config, whole, trials=3).finish()
    assert status == 0, text
    expected = sweep_kills.trial_lines(whole)
    assert len({tuple(trial["overrides"]) for trial in expected}) == 3
    cut = sweep_kills.disturbed(config, killed, trials=3, workers=2, kills=2)
    assert cut, "no trial was killed while it trained"
    assert sweep_kills.faults(killed, expected, kills=4, steps=120, cut=cut) == []
    assert planted(killed, expected) == {
        "a lost trial": "the trials are [0, 1]",
        "a repeated trial": "1 trials were started again after 0 kills",
        "other values": "trial 1: value is 9.0",
        "steps twice": "trial-000: its metrics do not have every step once",
    }


def planted(directory, expected):
    """What `faults` says of faults that are put into a good sweep."""
    path, found = directory / "sweep.jsonl", {}
    good = path.read_text()
    trials = sweep_kills.trial_lines(directory)

    def faults(changed, kills=4):
        path.write_text("".join(json.dumps(trial) + "\n" for trial in changed))
        said = sweep_kills.faults(directory, expected, kills, steps=120)
        path.write_text(good)
        return said[0].partition(", not")[0]

    found["a lost trial"] = faults(trials[:2])
    once = [trial | {"starts": 1} for trial in trials]
    found["a repeated trial"] = faults([*once[:2], once[2] | {"starts": 2}], kills=0)
    found["other values"] = faults([trials[0], trials[1] | {"value": 9.0}, *trials[2:]])
    metrics = directory / "trial-000" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() * 2)
    found["steps twice"] = faults(trials)
    return found


@needs_proc
def test_ctrl_c_of_workers(tmp_path, monkeypatch):
    """The workers save and end with the process that started them."""
    config = sweep_kills.write(tmp_path)
    command = sweep_kills.Command(config, tmp_path / "sweep", trials=4, workers=2)
    while not command.is_over and not sweep_kills.in_training(tmp_path / "sweep"):
        time.sleep(0.01)
    command.send(signal.SIGINT)
    status, text = command.finish()
    assert status == 130
    assert "the trials are saved" in text
    assert re.search(r"go on with: lstm-jax sweep .* --workers 2\n", text)
    sweep = Sweep.find(tmp_path / "sweep")
    assert sweep is not None
    states = [row.state for row in rows(sweep)]
    assert "interrupted" in states
    assert "running" not in states


def test_a_worker_that_cannot_work(config, capsys):
    more = ["train.monitor=valid_los", "--workers", "2"]
    error = said(capsys, config, RATE, *more, status=2)
    assert "ended with status 2: train.monitor is 'valid_los'" in error
    assert "worker-" in error


# Pruning


def test_a_pruned_trial_stops_and_is_kept(config, tmp_path, capsys):
    """Five trials were better at every step, so the sixth is pruned at its first
    evaluation."""
    plan = plan_of(config, RATE, prune=True)
    sweep = Sweep.start(tmp_path / "sweep", plan)
    for _ in range(5):
        trial = sweep.claim(plan, 7)
        for step in (3, 6, 9, 12):
            trial.report(step, 1e-6)
        trial.complete(1e-6)
        trial.give_back()
    trial = sweep.claim(plan, 7)
    values = read(config)
    assert sweep_trial.train_trial(trial, sweep.monitor, values) is None
    trial.give_back()
    assert "trial 5 is pruned at step 3" in capsys.readouterr().out
    (row,) = [row for row in rows(sweep) if row.number == 5]
    assert row.state == "pruned"
    assert rows(sweep)[-1] == row
    lines = tiny.metrics(trial.directory)
    assert [m["valid_loss"] for m in lines if "valid_loss" in m] == [row.value]
    assert (trial.directory / "checkpoints" / "3").is_dir()
    more = ["train", str(trial.directory / "config.toml"), "--resume"]
    assert cli.main(more) == 0

    # Without pruning the same trial is trained to its end.
    trial = sweep.claim(dataclasses.replace(plan, prune=False), 7)
    assert sweep_trial.train_trial(trial, sweep.monitor, values) is None
    (row,) = [row for row in rows(sweep) if row.number == 6]
    assert row.state == "complete"
