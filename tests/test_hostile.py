"""Files that would hang a command, or fill the memory, are refused in a line."""

import gzip
import json
import os
import time
import zipfile

import numpy as np
import pytest

from lstm_jax import files
from lstm_jax.cli import main
from lstm_jax.config import DEPTH, ConfigError, override, read
from lstm_jax.data import text as data_text
from lstm_jax.data.labelled import read_series, read_table
from lstm_jax.data.labelled.lines import read_lines
from lstm_jax.data.stored import read_stream, read_text
from lstm_jax.data.text import DataError, read_bytes
from lstm_jax.training.checkpoint import MANIFEST, Checkpoints
from lstm_jax.training.run_errors import RunError
from lstm_jax.training.run_folder import Run
from tests import tiny

pytestmark = pytest.mark.usefixtures("optax_promotion")

SECONDS = 2


@pytest.fixture(autouse=True)
def quick():
    """What reads all of a huge file, or waits for a pipe, takes longer."""
    begin = time.monotonic()
    yield
    assert time.monotonic() - begin < SECONDS


def made(folder, kind):
    """A path that is not an ordinary file of data."""
    path = folder / f"{kind}.csv"
    match kind:
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "link":
            path.symlink_to("/dev/zero")
        case "sparse":
            with path.open("wb") as file:
                file.truncate(50 * 2**30)
    return "/dev/zero" if kind == "device" else str(path)


SAID = {
    "pipe": "it is a pipe, expected a regular file",
    "folder": "Is a directory",
    "device": "it is a device, expected a regular file",
    "link": "it is a device, expected a regular file",
}
READERS = {
    "a text": read_text,
    "lines": read_lines,
    "a table": read_table,
    "parquet": lambda path: read_table(path),
    "bytes": lambda path: read_bytes(path, path),
    "a config": read,
    "json": files.read_json,
}


@pytest.mark.parametrize("kind", SAID)
@pytest.mark.parametrize("reader", READERS)
def test_only_regular_files_are_read(tmp_path, reader, kind):
    with pytest.raises((ValueError, OSError)) as caught:
        READERS[reader](made(tmp_path, kind))
    said = str(caught.value)
    assert SAID[kind] in said
    assert "\n" not in said


@pytest.mark.parametrize("reader", READERS)
def test_a_sparse_file_of_50_gb(tmp_path, reader):
    path = made(tmp_path, "sparse")
    with pytest.raises((ValueError, OSError), match=r"binary|bytes") as caught:
        READERS[reader](path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("reader", ["a text", "lines", "bytes"])
def test_gzip_that_unpacks_to_a_thousand_times_its_size(tmp_path, reader, monkeypatch):
    monkeypatch.setattr(data_text, "GZIP_BYTES", 2**22)
    path = tmp_path / "text.gz"
    path.write_bytes(gzip.compress(b"a" * 2**24))
    with pytest.raises(DataError, match="that unpack to more than 4,194,304") as caught:
        READERS[reader](str(path))
    assert str(path) in str(caught.value)


def test_an_archive_of_arrays_that_unpacks_to_more(tmp_path, monkeypatch):
    monkeypatch.setattr("lstm_jax.data.labelled.arrays.GZIP_BYTES", 2**20)
    path = tmp_path / "a.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("x.npy", "w") as file:
            np.lib.format.write_array(file, np.zeros(2**20))
        archive.writestr("y.npy", b"\0" * 2**20)
    with pytest.raises(DataError, match=r"that unpack to .*, expected at most"):
        read_series(path)


def test_an_endless_pipe(monkeypatch):
    class Endless:
        def read(self, size):
            return b"y" * size

    monkeypatch.setattr("lstm_jax.data.stored.FILE_BYTES", 2**24)
    with pytest.raises(DataError, match="standard input has more than 16,777,216"):
        read_stream(Endless(), "standard input")


CONFIGS = {
    "arrays": "x = " + "[" * 100_000 + "]" * 100_000,
    "tables": "x = " + "{a=" * 40_000 + "1" + "}" * 40_000,
    "dots": ".".join(["a"] * 50_000) + " = 1",
    "quoted dots": " . ".join(['"a"', "'b'"] * 25_000) + " = 1",
    "dots in a header": f"[{'.'.join(['a'] * 50_000)}]",
    "dots in a table": f"x = {{{'.'.join(['a'] * 50_000)} = 1}}",
    "a word": "a" * 500_000,
    "quotes": '"' * 500_000,
    "half a dozen more than are allowed": "x = " + "[" * 40 + "]" * 40,
    "digits": "x = " + "1" * 100_000,
    "larger than any": "#" * (2**20 + 1),
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS)
def test_configs_without_a_bound(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(ConfigError, match=r"a\.toml") as caught:
        read(tmp_path / "a.toml")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_list_of_numbers_has_dots_and_is_no_key(tmp_path):
    numbers = [n / 8 for n in range(1000)]
    (tmp_path / "a.toml").write_text(f"x = {numbers}\ny = 'a.b{'.c' * DEPTH} d'")
    assert read(tmp_path / "a.toml")["x"] == numbers


@pytest.mark.parametrize(
    "assignment",
    [
        f"{'a.' * 50_000}a=1",
        f"model.layers={'[' * 100_000}{']' * 100_000}",
        f"train.steps={'1' * 5000}",
    ],
    ids=["dots", "arrays", "digits"],
)
def test_overrides_without_a_bound(assignment):
    with pytest.raises(ConfigError) as caught:
        override({}, [assignment])
    assert len(str(caught.value)) < 500


def test_many_wrong_keys_are_not_all_named(tmp_path, capsys):
    config, *more = tiny.write(tmp_path)
    with open(config, "a") as file:
        file.write("\n".join(["[x]", *(f"k{n} = 1" for n in range(5000))]))
        file.write("\n".join(["", *(f"[s{n}]" for n in range(5000))]))
    assert main(["train", config, *more]) == 2
    said = capsys.readouterr().err
    assert "more problems" in said
    assert said.count("\n") < 30


@pytest.mark.parametrize("key", ["data.path", "run.directory", "train.steps"])
def test_an_empty_value_is_a_variable_that_is_not_set(tmp_path, capsys, key):
    config, *_ = tiny.write(tmp_path)
    assert main(["train", config, f"{key}="]) == 2
    said = capsys.readouterr().err
    assert f"{key}= has no value (is a variable not set?)" in said


def test_a_checkpoint_whose_file_has_grown_to_50_gb(tmp_path):
    folder = tmp_path / "3"
    folder.mkdir()
    (folder / "small").write_bytes(b"abc")
    from lstm_jax.training import checkpoint

    manifest = {"step": 3, "facts": {"validations": [], "best_step": [0]}, "arrays": {}}
    manifest["files"] = checkpoint._digests(folder)
    manifest["sha256"] = checkpoint._sha256_of(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))
    told = []
    assert Checkpoints(tmp_path, say=told.append).last_good() == 3
    with (folder / "small").open("ab") as file:
        file.truncate(50 * 2**30)
    assert Checkpoints(tmp_path, say=told.append).last_good() is None
    assert "small does not agree" in told[0]
    (folder / MANIFEST).unlink()
    os.mkfifo(folder / MANIFEST)
    assert Checkpoints(tmp_path, say=told.append).last_good() is None
    assert "it is a pipe" in told[1]


def test_metrics_that_are_a_pipe(tmp_path):
    run = tiny.new_run(tmp_path / "run")
    os.mkfifo(run.path("metrics.jsonl"))
    with pytest.raises(RunError, match="it is a pipe"):
        Run(tmp_path / "run").metrics()
