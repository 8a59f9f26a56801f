"""Files are whole after a power cut, and are never written through a link."""

import ast
import errno
import os
import resource
import stat
from pathlib import Path

import numpy as np
import pytest

from lstm_jax import files
from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.files.formats import write_new, write_tensors
from lstm_jax.training.plots import new_figure, save_figure

ROOT = Path(__file__).parents[1] / "lstm_jax"
ARRAY = {"a": np.ones(3)}

WRITERS = {
    "text": lambda path: files.write_text(path, "new"),
    "json": lambda path: files.write_json(path, {"new": 1}),
    "safetensors": lambda path: files.write_safetensors(path, ARRAY),
    "figure.png": lambda path: save_figure(new_figure()[0], path),
}
NEW = {
    "new.bin": lambda path: write_new(path, b"new"),
    "new.safetensors": lambda path: write_tensors(path, ARRAY),
    "new.npz": lambda path: write_tensors(path, ARRAY),
}


@pytest.fixture
def calls(monkeypatch):
    """The names of what is called of the system, in order, with the last of a path."""
    made, opened = [], {}

    def watch(name, say):
        real = getattr(os, name)

        def watched(*args, **options):
            result = real(*args, **options)
            if name == "open":
                opened[result] = Path(args[0]).name
            made.append((name, say(*args)))
            return result

        monkeypatch.setattr(os, name, watched)

    watch("open", lambda path, *_: Path(path).name)
    watch("fsync", lambda descriptor: opened[descriptor])
    for name in ("replace", "rename", "link"):
        watch(name, lambda _, path: Path(path).name)
    return made


@pytest.mark.parametrize("name", WRITERS | NEW)
def test_a_power_cut_finds_the_old_file_or_the_new_one(tmp_path, calls, name):
    """Its content is on the disk before its name, and its name before we go on."""
    (WRITERS | NEW)[name](tmp_path / name)
    (placed,) = [n for n, (call, path) in enumerate(calls) if path == name]
    assert calls[placed][0] in ("replace", "link")
    created = calls[0][1]
    assert ("fsync", created) in calls[:placed]
    assert ("fsync", tmp_path.name) in calls[placed:]
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_folder_is_whole_after_a_power_cut(tmp_path, calls):
    with files.writing_folder(tmp_path / "folder") as aside:
        (aside / "inner").mkdir()
        (aside / "inner" / "file").write_text("content")
    (placed,) = [n for n, call in enumerate(calls) if call[0] == "rename"]
    synced = [path for call, path in calls[:placed] if call == "fsync"]
    assert {"inner", "file", aside.name} <= set(synced)
    assert ("fsync", tmp_path.name) in calls[placed:]


@pytest.mark.parametrize("name", WRITERS)
def test_a_link_is_replaced_and_its_target_left_alone(tmp_path, name):
    victim = tmp_path / "victim"
    victim.write_text("mine")
    (tmp_path / name).symlink_to(victim)
    WRITERS[name](tmp_path / name)
    assert victim.read_text() == "mine"
    assert not (tmp_path / name).is_symlink()


@pytest.mark.parametrize("target", ["victim", "nowhere"])
@pytest.mark.parametrize("name", NEW)
def test_a_new_file_is_not_made_through_a_link(tmp_path, name, target):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / name).symlink_to(tmp_path / target)
    with pytest.raises(InteropError, match="already exists"):
        NEW[name](tmp_path / name)
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_a_name_taken_meanwhile_is_not_overwritten(tmp_path):
    with pytest.raises(FileExistsError), files.writing(tmp_path / "a", new=True):
        (tmp_path / "a").write_text("theirs")
    assert (tmp_path / "a").read_text() == "theirs"


def test_a_file_system_without_hard_links(tmp_path, monkeypatch):
    def no_links(*_):
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", no_links)
    files.write_text(tmp_path / "a", "new", new=True)
    assert (tmp_path / "a").read_text() == "new"
    with pytest.raises(FileExistsError), files.writing(tmp_path / "b", new=True):
        (tmp_path / "b").write_text("theirs")
    assert (tmp_path / "b").read_text() == "theirs"


def test_a_temporary_name_cannot_be_foreseen_or_taken(tmp_path, monkeypatch):
    (tmp_path / "victim").write_text("mine")
    monkeypatch.setattr(files.secrets, "token_hex", lambda n: "0" * 16)
    (tmp_path / f".{'0' * 16}.tmp").symlink_to(tmp_path / "victim")
    with pytest.raises(FileExistsError):
        files.write_text(tmp_path / "a", "new")
    assert (tmp_path / "victim").read_text() == "mine"


REFUSED = {
    "link": "is a symbolic link",
    "dangling": "is a symbolic link",
    "pipe": "No such device or address",
}


@pytest.mark.parametrize("name", REFUSED)
def test_appending_goes_through_no_link_and_waits_for_no_pipe(tmp_path, name):
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "victim")
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=REFUSED[name]):
        files.append(tmp_path / name, b"more")
    assert (tmp_path / "victim").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()


def test_what_fails_leaves_the_file_as_it_was(tmp_path):
    path = tmp_path / "a"
    path.write_text("old")

    def fails():
        with files.writing(path) as file:
            file.write(b"half")
            raise RuntimeError("no more")

    with pytest.raises(RuntimeError, match="no more"):
        fails()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_an_append_without_room_leaves_no_half_line(tmp_path):
    path = tmp_path / "a"
    files.append(path, b"x" * 90 + b"\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            files.append(path, b"y" * 90 + b"\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == b"x" * 90 + b"\n"


def test_permissions_are_those_of_any_new_file(tmp_path):
    (tmp_path / "any").write_text("")
    for name, write in (WRITERS | NEW).items():
        write(tmp_path / name)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in tmp_path.iterdir()}
    assert len(modes) == 1


def test_only_leftovers_are_swept(tmp_path):
    kept = {"a.tmp", ".tmp", f".{'g' * 16}.tmp", f"{'0' * 16}.tmp"}
    for name in kept | {f".{'0f' * 8}.tmp"}:
        (tmp_path / name).touch()
    (tmp_path / f".{'1' * 16}.tmp").mkdir()
    files.remove_leftovers(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == kept | {f".{'1' * 16}.tmp"}


WRITING = {"write_text", "write_bytes", "savefig", "touch"}
OURS = {"files", "run", "self"}
"""What has methods of these names that go by `lstm_jax.files`."""


def written(path):
    """Lines of a module that write a file without `lstm_jax.files`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Call):
            continue
        name = getattr(node.func, "attr", "")
        owner = getattr(getattr(node.func, "value", None), "id", "")
        modes = [a.value for a in node.args if isinstance(a, ast.Constant)]
        modes = [m for m in modes if isinstance(m, str) and set(m) <= set("rwxabt+")]
        opens = name == "open" or getattr(node.func, "id", "") == "open"
        if (
            (name in ("replace", "rename") and owner == "os")
            or (name in WRITING and owner not in OURS)
            or (opens and any(set(mode) & set("wxa+") for mode in modes))
        ):
            yield node.lineno


ALLOWED = {
    "commands/train.py": 1,  # into nothing
    "sweeps/study.py": 1,  # a database that was made aside
    "sweeps/workers.py": 1,  # the output of a process
    "training/checkpoint.py": 1,  # a folder is set aside
    "training/plots.py": 1,  # into a file of ours
    "training/run_folder.py": 1,  # a corrupt file is set aside
}


def test_nothing_else_writes_files():
    found = {
        str(path.relative_to(ROOT)): len([*written(path)])
        for path in sorted(ROOT.rglob("*.py"))
        if path != ROOT / "files.py"
    }
    assert {name: n for name, n in found.items() if n} == ALLOWED
