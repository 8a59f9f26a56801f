"""Runs that were copied, moved, mixed up, edited, or cannot be written."""

import errno
import json
import os
import shutil
import subprocess
import sys

import pytest

from lstm_jax import files
from lstm_jax.cli import main
from lstm_jax.runs import train
from lstm_jax.training import checkpoint, progress
from lstm_jax.training.checkpoint import Checkpoints
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import Run
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")


@pytest.fixture(scope="module")
def made(optax_promotion, tmp_path_factory):
    """A finished run of 8 steps."""
    folder = tmp_path_factory.mktemp("made")
    args = tiny.write_memory(folder, "train.steps=8", f"run.directory={folder / 'run'}")
    assert main(["train", *args]) == 0
    return folder / "run"


@pytest.fixture
def run(made, tmp_path):
    """A copy of it, elsewhere."""
    shutil.copytree(made, tmp_path / "run")
    return tmp_path / "run"


def resume(run, *more):
    return main(["train", str(run / "config.toml"), *more, "--resume"])


def content(folder):
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def unfinished(run):
    facts = json.loads((run / "run.json").read_text())
    facts.pop("final_part", None)
    (run / "run.json").write_text(json.dumps(facts))


def refusal(capsys):
    said = capsys.readouterr().err
    assert said.startswith("lstm-jax: ")
    assert "Traceback" not in said
    return said


# A run is where its folder is


@pytest.mark.parametrize("stored", ["", "the original"])
def test_a_copy_goes_on_where_it_is(made, run, stored, capsys):
    """Whatever folder its config names, as those of older versions do."""
    before = content(made)
    if stored:
        text = (run / "config.toml").read_text()
        assert 'directory = ""' in text
        text = text.replace('directory = ""', f'directory = "{made}"')
        (run / "config.toml").write_text(text)
    assert resume(run, "train.steps=9") == 0
    assert tiny.metrics(run)[-1]["step"] == 9
    assert content(made) == before
    assert main(["train", str(run / "config.toml")]) == 2
    assert f"{run} already holds a run" in refusal(capsys)


def test_a_folder_that_is_moved_while_it_is_trained(run, monkeypatch, capsys):
    """Noticed at the next write; nothing is made at the old place."""
    update = progress.ProgressReport.update

    def move(self, step, loss):
        update(self, step, loss)
        if not (run.parent / "moved").exists():
            run.rename(run.parent / "moved")

    with monkeypatch.context() as patch:
        patch.setattr(progress.ProgressReport, "update", move)
        assert resume(run, "train.steps=12", "train.block=1") == 2
    assert f"{run} was moved" in refusal(capsys)
    assert not run.exists()
    assert resume(run.parent / "moved", "train.steps=12") == 0


def test_checkpoints_that_are_removed_while_training(run, monkeypatch, capsys):
    """The next checkpoint makes the folder again: nothing else knows the state."""
    update = progress.ProgressReport.update

    def remove(self, step, values):
        update(self, step, values)
        if step == 10:
            shutil.rmtree(run / "checkpoints")

    monkeypatch.setattr(progress.ProgressReport, "update", remove)
    assert resume(run, "train.steps=13", "train.block=1") == 0
    assert "checkpoints was removed; it is made again" in capsys.readouterr().out
    assert Checkpoints(run / "checkpoints").last_good() == 13


def test_a_link_to_checkpoints_that_are_not_there(run):
    """A folder in its place would hide them once they are there again."""
    unmounted(run / "checkpoints")
    with pytest.raises(RunError, match="bring its folder back and resume it"):
        Checkpoints(run / "checkpoints")._write(9, {}, {})
    assert (run / "checkpoints").is_symlink()


def test_another_folder_in_its_place(run):
    mine = Run.open(run)
    with mine.alone():
        run.rename(run.parent / "moved")
        shutil.copytree(run.parent / "moved", run)
        before = content(run)
        with pytest.raises(RunError, match="was moved, replaced"):
            mine.log([{"step": 9, "loss": 1.0}])
    assert content(run) == before


def test_two_starts_at_once(tmp_path, monkeypatch, capsys):
    """The second comes when the first has written its config, and not trained yet."""
    args = ["train", *tiny.write_memory(tmp_path), f"run.directory={tmp_path / 'run'}"]
    alone, ends = train.train_alone, []

    def second(*given):
        monkeypatch.setattr(train, "train_alone", alone)
        ends.append(main(args))
        ends.append(refusal(capsys))
        return alone(*given)

    monkeypatch.setattr(train, "train_alone", second)
    assert main(args) == 0
    assert ends[0] == 2
    assert "another process is training" in ends[1]


# Checkpoints


def gone(folder):
    shutil.rmtree(folder)


def unmounted(folder):
    shutil.rmtree(folder)
    folder.symlink_to(folder.parent / "disk")


def emptied(folder):
    shutil.rmtree(folder)
    folder.mkdir()


@pytest.mark.parametrize("lose", [gone, unmounted, emptied])
def test_checkpoints_that_are_lost_are_not_those_of_a_new_run(run, lose, capsys):
    unfinished(run)
    lose(run / "checkpoints")
    text = (run / "config.toml").read_text()
    assert "checkpoint_every = 4" in text
    # The first of them was complete at step 6.
    text = text.replace("checkpoint_every = 4", "checkpoint_every = 3")
    (run / "config.toml").write_text(text)
    before = content(run)
    assert resume(run, "train.steps=12") == 2
    said = refusal(capsys)
    assert "metrics.jsonl goes to step 8" in said
    assert "restore the checkpoints" in said
    assert content(run) == before


@pytest.mark.parametrize("metrics", [True, False])
def test_checkpoints_that_are_all_corrupt_are_not_those_of_a_new_run(
    run, metrics, capsys
):
    unfinished(run)
    for path in run.glob("checkpoints/*/manifest.json"):
        path.write_text("{")
    if not metrics:
        (run / "metrics.jsonl").unlink()
    assert resume(run, "train.steps=12") == 2
    assert "holds no valid checkpoint" in refusal(capsys)


def test_a_run_that_was_killed_before_its_first_checkpoint(run, capsys):
    """It begins again: the folder is there, and no checkpoint was due for certain."""
    unfinished(run)
    emptied(run / "checkpoints")
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    (run / "metrics.jsonl").write_text("".join(lines[:3]))
    assert resume(run) == 0
    assert "starts again at step 0" in capsys.readouterr().out
    assert tiny.metrics(run)[-1]["step"] == 8


def change(run, edit):
    """Edits the manifests of a run in such a way that they agree with themselves."""
    for path in run.glob("checkpoints/*/manifest.json"):
        manifest = json.loads(path.read_text())
        edit(manifest)
        manifest.pop("sha256")
        manifest["sha256"] = checkpoint._sha256_of(manifest)
        path.write_text(json.dumps(manifest))


def of_another_seed(manifest):
    config = manifest["record"]["config.toml"]
    assert "\nseed = 0\n" in config
    manifest["record"]["config.toml"] = config.replace("\nseed = 0\n", "\nseed = 5\n")


def of_another_run(manifest):
    facts = json.loads(manifest["record"]["run.json"])
    manifest["record"]["run.json"] = json.dumps(facts | {"id": "another"})


def of_more_seeds(manifest):
    for _, losses in manifest["facts"]["validations"]:
        losses.append(1.0)


def of_no_run(manifest):
    manifest["record"] = {}


OTHERS = {
    "was trained with seed=5": of_another_seed,
    "to another run": of_another_run,
    "has another number of seeds": of_more_seeds,
    "belongs to another run": of_no_run,
}


@pytest.mark.parametrize("said", OTHERS)
def test_the_checkpoints_of_another_run_are_not_used(run, said, capsys):
    change(run, OTHERS[said])
    before = content(run)
    for command in (lambda: resume(run), lambda: main(["evaluate", str(run)])):
        assert command() == 2
        assert said in refusal(capsys)
    assert content(run) == before


def test_runs_of_older_versions_are_used(run):
    """They have no id, and their checkpoints no record."""
    change(run, lambda manifest: manifest.pop("record"))
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(
        json.dumps({name: facts[name] for name in facts if name != "id"})
    )
    assert main(["evaluate", str(run)]) == 0
    assert resume(run, "train.steps=9") == 0
    assert main(["evaluate", str(run)]) == 0


WRONG = {
    "another step": lambda m: m.update(step=5),
    "a step of text": lambda m: m.update(step="8"),
    "files are a list": lambda m: m.update(files=[]),
    "no facts": lambda m: m.pop("facts"),
    "a loss of text": lambda m: m["facts"].update(validations=[[3, ["low"]]]),
    "shapes are numbers": lambda m: m.update(arrays={"state": 3}),
    "deep": lambda m: m.update(facts=json.loads("[" * 900 + "]" * 900)),
}


@pytest.mark.parametrize("edit", WRONG.values(), ids=WRONG)
def test_a_manifest_of_wrong_types(run, edit):
    """Edited so that it agrees with itself, it is corrupt all the same."""
    change(run, edit)
    said = []
    assert Checkpoints(run / "checkpoints", say=said.append).last_good() is None
    assert all("manifest.json" in line for line in said)


def test_names_that_are_no_checkpoints(run):
    """They stand in nobody's way, and are left alone."""
    folder = run / "checkpoints"
    others = ["0200", "\uff12\uff10\uff10", "backup.tmp"]
    for name in others:
        (folder / name).mkdir()
    (folder / "9.tmp").write_text("a file")
    assert resume(run, "train.steps=9") == 0
    assert Checkpoints(folder).steps == [8, 9]
    assert all((folder / name).is_dir() for name in others)


# Metadata


MISSING = {"missing": None, "empty": "", "a list": "[]", "no keys": "{}"}


@pytest.mark.parametrize(
    "text", [*MISSING.values(), "[" * 10_000], ids=[*MISSING, "deep"]
)
@pytest.mark.parametrize("name", ["run.json", "config.toml"])
def test_metadata_that_is_lost(made, run, capsys, name, text):
    """A command refuses it by name; a resume takes the copy in the checkpoint."""
    before = (run / name).read_text()
    (run / name).unlink() if text is None else (run / name).write_text(text)
    for command in ("evaluate", "generate"):
        assert main([command, str(run)]) == 2
        said = capsys.readouterr().err
        assert name in said
        assert len(said.splitlines()) == 1
    args = [str(made.parent / "memory.toml"), "train.steps=8", f"run.directory={run}"]
    assert main(["train", *args, "--resume"]) == 0
    said = capsys.readouterr().out
    assert f"{name} is restored from the checkpoint of step 8" in said
    after = (run / name).read_text()
    if name == "config.toml":
        assert after == before
    else:
        assert json.loads(after)["id"] == json.loads(before)["id"]


LIES = {
    "parameters": "many",
    "device": None,
    "seconds": "long",
    "resumed": [{"step": "one"}],
    "diverged": [1],
    "final_part": "../../elsewhere",
    "memoryless": {},
}


def test_a_run_of_another_task_is_not_taken_for_corrupt(run, tmp_path, capsys):
    args, before = tiny.write(tmp_path), content(run)
    assert main(["train", *args, f"run.directory={run}", "--resume"]) == 2
    assert "was trained with " in refusal(capsys)
    assert content(run) == before


def test_a_config_of_wrong_types_is_listed(run, capsys):
    (run / "config.toml").write_text('task = 5\ntrain = "long"\n')
    assert main(["runs", str(run)]) == 0
    assert "complete" in capsys.readouterr().out
    assert main(["evaluate", str(run)]) == 2
    assert f"{run / 'config.toml'}: task is 5" in refusal(capsys)


@pytest.mark.parametrize("key", LIES)
def test_metadata_of_wrong_types(run, key, capsys):
    facts = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(facts | {key: LIES[key]}))
    assert main(["evaluate", str(run)]) == 2
    said = refusal(capsys)
    assert f"run.json is corrupt: {key}" in said


def test_a_run_ends_without_what_was_removed(run, monkeypatch):
    update = progress.ProgressReport.update

    def remove(self, step, loss):
        update(self, step, loss)
        (run / "run.json").unlink(missing_ok=True)

    monkeypatch.setattr(progress.ProgressReport, "update", remove)
    assert resume(run, "train.steps=9") == 0
    assert json.loads((run / "run.json").read_text())["final_part"] == "test"


@pytest.mark.parametrize("bad", [b"\xff\xfe", b'{"step": 3, "lo', b"[" * 9000])
def test_a_corrupt_line_of_metrics_and_its_remedy(run, bad, capsys):
    lines = (run / "metrics.jsonl").read_bytes().splitlines()
    lines[3] = bad
    (run / "metrics.jsonl").write_bytes(b"\n".join(lines) + b"\n")
    assert resume(run) == 2
    said = refusal(capsys)
    assert "metrics.jsonl is corrupt in line 4: " in said
    command = said.partition("with ")[2].partition(";")[0]
    subprocess.run(command, shell=True, check=True)
    assert resume(run, "train.steps=9") == 0
    said = capsys.readouterr().out
    assert "metrics.jsonl has no validation of step 3." in said


@pytest.mark.parametrize("bad", [b"\0" * 60 + b"\n", b'\0\0"loss": 2.0}\n{"step": 9'])
def test_a_power_cut_leaves_corrupt_lines_after_the_last_checkpoint(made, run, bad):
    """Only what was synced must be there; the rest is trained again."""
    with (run / "metrics.jsonl").open("ab") as file:
        file.write(bad)
    unfinished(run)
    assert resume(run) == 0
    assert tiny.metrics(run) == tiny.metrics(made)


def test_lines_of_metrics_that_are_missing_or_there_twice(run, capsys):
    lines = (run / "metrics.jsonl").read_text().splitlines(keepends=True)
    del lines[:2]
    (run / "metrics.jsonl").write_text("".join([*lines, lines[-2], lines[-1]]))
    assert resume(run, "train.steps=9") == 0
    said = capsys.readouterr().out
    assert "metrics.jsonl has no line for step 1 and 1 other steps." in said
    assert "metrics.jsonl has step 8 twice." in said
    assert "metrics.jsonl has validated step 8 twice." in said


# Where nothing can be written


def test_a_run_of_somebody_else_is_evaluated(run, monkeypatch, capsys):
    """The metrics are printed; that they cannot be saved is said beside them."""

    def read_only(path, *_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    before = content(run)
    monkeypatch.setattr(files, "writing", read_only)
    monkeypatch.setattr(files, "append", read_only)
    for more in ([], ["evaluation.sequences=4"]):
        assert main(["evaluate", str(run), *more]) == 0
        said = capsys.readouterr()
        assert "test: loss " in said.out
        assert "not saved: cannot write" in said.err
        assert "Read-only file system" in said.err
    assert content(run) == before


def test_results_go_through_no_link(run, tmp_path, capsys):
    """As in a folder of somebody who wants to have another file overwritten."""
    (tmp_path / "victim").write_text("mine")
    (run / "result-test.json").unlink()
    for name in ("result-test.json", "result-test.json.tmp", "evaluations.jsonl"):
        (run / name).symlink_to(tmp_path / "victim")
    for more in ([], ["evaluation.sequences=4"]):
        assert main(["evaluate", str(run), *more]) == 0
    assert "is not followed" in capsys.readouterr().err
    assert (tmp_path / "victim").read_text() == "mine"


LONG = "x" * 300
UNREADABLE = {
    "train": ["train", f"{LONG}.toml"],
    "train a folder": ["train", "{config}", f"run.directory={LONG}"],
    "train --resume": ["train", "{config}", f"run.directory={LONG}", "--resume"],
    "train a text": ["train", "{text}", f"data.path={LONG}"],
    "evaluate": ["evaluate", LONG],
    "generate": ["generate", LONG],
    "runs": ["runs", LONG],
    "compare": ["compare", LONG, LONG],
    "export": ["export", LONG, "--format", "npz", "--out", "a.npz"],
    "export to": ["export", "{run}", "--format", "npz", "--out", f"{LONG}.npz"],
    "import": ["import", f"{LONG}.npz", "--out", "imported"],
    "import onnx": ["import", f"{LONG}.onnx", "--out", "imported"],
    "memory": ["memory", "{config}", f"run.directory={LONG}", "--resume"],
}


@pytest.mark.parametrize("command", UNREADABLE.values(), ids=UNREADABLE)
@pytest.mark.parametrize("name", ["long", "no permission"])
def test_a_path_that_cannot_be_looked_at(
    made, tmp_path, monkeypatch, capsys, command, name
):
    """One sentence, be the path too long or its folder not ours."""
    monkeypatch.chdir(tmp_path)
    names = {"config": tiny.write_memory(tmp_path)[0], "run": str(made)}
    names["text"] = tiny.write(tmp_path)[0]
    command = [word.format(**names) for word in command]
    if name == "no permission":
        # Root may look everywhere: the answer of the system is made up.
        command = [word.replace(LONG, "locked/inside") for word in command]
        for function in ("stat", "lstat", "scandir", "open", "mkdir"):
            monkeypatch.setattr(os, function, locked(getattr(os, function)))
        monkeypatch.setattr("io.open", locked(open))
    assert main(command) == 2
    said = refusal(capsys)
    assert len(said.splitlines()) == 1
    assert ("Permission denied" if name != "long" else "too long") in said


def locked(function):
    def answer(path=".", *args, **options):
        if "locked" in str(path):
            said = os.strerror(errno.EACCES)
            raise PermissionError(errno.EACCES, said, str(path))
        return function(path, *args, **options)

    return answer


# What comes after the metrics


def test_an_extra_does_not_fail_a_run(tmp_path, monkeypatch, capsys):
    """The comparison with xz, or the plots: the results are complete without them."""
    args = [*tiny.write(tmp_path), f"run.directory={tmp_path / 'run'}"]

    def fails(*_, **__):
        raise MemoryError

    def interrupts(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("lstm_jax.tasks.language_model.xz_bits", interrupts)
    monkeypatch.setattr(train, "plot_run", fails)
    assert main(["train", *args]) == 0
    said = capsys.readouterr().out
    assert said.index("test: ") < said.index("no baselines: skipped by Ctrl-C")
    assert "no plots: MemoryError" in said
    assert json.loads((tmp_path / "run" / "run.json").read_text())["final_part"]
    # A long text is compared only where that is asked for.
    calls = []
    monkeypatch.setattr(
        "lstm_jax.tasks.language_model.xz_bits", lambda *_: calls.append(1) or 2.5
    )
    monkeypatch.setattr("lstm_jax.tasks.language_model.SMALL", 100)
    evaluate = ["evaluate", str(tmp_path / "run")]
    assert main(evaluate) == 0
    assert "evaluate RUN --baselines" in capsys.readouterr().out
    assert not calls
    assert main([*evaluate, "--baselines"]) == 0
    said = capsys.readouterr().out
    assert said.index("test: ") < said.index("Ctrl-C skips") < said.index("2.500 bits")
    result = json.loads((tmp_path / "run" / "result-test.json").read_text())
    assert result["xz_bits"] == 2.5


BARE = """
import os, sys
sys.modules["lzma"] = sys.modules["_lzma"] = None
os.environ["MPLBACKEND"] = "module://no.such.backend"
import lstm_jax.cli
from lstm_jax.training.plots import new_figure, save_figure
from lstm_jax.data.compression import xz_bits
print(save_figure(new_figure()[0], __import__("pathlib").Path(sys.argv[1])))
try:
    xz_bits("a", "b")
except ModuleNotFoundError:
    print("no xz")
"""


def test_a_python_without_xz_and_the_backend_of_a_notebook(tmp_path):
    command = [sys.executable, "-W", "ignore", "-c", BARE, str(tmp_path / "a.png")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [str(tmp_path / "a.png"), "no xz"]


# Names on the terminal


def test_no_escape_sequence_reaches_the_terminal(made, tmp_path, capsys):
    evil = "\x1b[2J\x1b]0;owned\x07"
    folder = tmp_path / f"runs{evil}"
    shutil.copytree(made, folder / "run")
    (folder / "none").mkdir()
    (folder / "none" / "config.toml").write_text("task = = 1")
    config = tmp_path / "config.toml"
    config.write_text(f'task = "memory"\n"key{evil}" = 1\n'.replace("\x1b", "\\u001b"))
    weights = tmp_path / "weights.npz"
    files.write_bytes(weights, b"no zip")
    commands = [
        ["runs", str(folder)],
        ["evaluate", str(folder / "run")],
        ["compare", str(folder / "run"), str(folder / "run")],
        ["runs", str(folder / "nowhere")],
        ["train", str(config)],
        ["import", str(folder / "weights.npz"), "--list"],
        ["export", str(folder / "run"), "--format", "npz", "--out", f"{folder}/a.npz"],
    ]
    for command in commands:
        main(command)
        said = capsys.readouterr()
        assert said.out or said.err
        assert "\x1b" not in said.out + said.err, command
        assert "\x07" not in said.out + said.err, command
