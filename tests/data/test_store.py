"""Tokens in files are whole, and found again."""

import concurrent.futures
import os
import threading
import time

import numpy as np
import pytest

from lstm_jax.data.store import STALE, Store
from lstm_jax.data.text import DataError

KEY = {"text": "a"}
U2 = np.dtype(np.uint16)


def parts(*sizes):
    return [np.arange(size, dtype=U2) for size in sizes]


@pytest.fixture(params=["kept", "temporary"])
def store(request, tmp_path):
    return Store(tmp_path / "cache" if request.param == "kept" else "")


@pytest.mark.parametrize("sizes", [(), (0,), (3,), (70_000 % 2**16, 5, 0, 1)])
def test_tokens_come_back(store, sizes):
    tokens = store.tokens("tokens", KEY, U2, lambda: parts(*sizes))
    expected = np.concatenate([np.zeros(0, U2), *parts(*sizes)])
    assert tokens.data.dtype == U2
    assert tokens.data.tolist() == expected.tolist()
    assert not tokens.in_memory
    tokens.forget()
    tokens.check()
    assert tokens.data.tolist() == expected.tolist()


def test_what_is_kept_is_not_made_again(tmp_path):
    store = Store(tmp_path)
    made = store.tokens("tokens", KEY, U2, lambda: parts(5))
    facts = store.facts("facts", KEY, lambda: {"é": 1})
    never = lambda: pytest.fail("it is made again")
    assert store.has("tokens", KEY)
    again = Store(str(tmp_path))
    assert again.tokens("tokens", KEY, U2, never).data.tolist() == made.data.tolist()
    assert again.facts("facts", KEY, never) == facts
    other = again.tokens("tokens", KEY | {"text": "b"}, U2, lambda: parts(2))
    assert other.data.tolist() == [0, 1]


def test_tokens_are_an_array_of_numpy(tmp_path):
    Store(tmp_path).tokens("tokens", KEY, U2, lambda: parts(5, 3))
    (path,) = tmp_path.iterdir()
    assert np.load(path).tolist() == [0, 1, 2, 3, 4, 0, 1, 2]


def test_processes_do_not_disturb_each_other(tmp_path):
    together = threading.Barrier(4)

    def make():
        together.wait()
        for part in parts(100, 200, 300):
            yield part
            together.wait()

    def tokens(_):
        return Store(tmp_path).tokens("tokens", KEY, U2, make).data

    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        found = [*pool.map(tokens, range(4))]
    expected = np.concatenate(parts(100, 200, 300))
    assert all((one == expected).all() for one in found)
    assert len([*tmp_path.iterdir()]) == 1


def test_what_is_interrupted_leaves_nothing(tmp_path):
    def make():
        yield parts(3)[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Store(tmp_path).tokens("tokens", KEY, U2, make)
    assert not [*tmp_path.iterdir()]


def test_what_a_killed_process_left_goes_when_it_is_old(tmp_path):
    old, new = (tmp_path / f".{digit * 16}.tmp" for digit in "01")
    for path in (old, new):
        path.touch()
    then = time.time() - STALE - 60
    os.utime(old, (then, then))
    Store(tmp_path).facts("facts", KEY, dict)
    assert not old.exists()
    assert new.exists()


@pytest.mark.parametrize("wrong", [b"", b"short", "cut"])
def test_a_file_that_is_wrong(tmp_path, wrong):
    store = Store(tmp_path)
    store.tokens("tokens", KEY, U2, lambda: parts(50))
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-1] if wrong == "cut" else wrong)
    with pytest.raises(DataError, match=r"tokens-\w+\.npy is corrupt .* remove it"):
        store.tokens("tokens", KEY, U2, lambda: parts(50))


def test_a_file_that_changes_meanwhile(tmp_path):
    tokens = Store(tmp_path).tokens("tokens", KEY, U2, lambda: parts(50))
    (path,) = tmp_path.iterdir()
    os.truncate(path, 130)
    with pytest.raises(DataError, match="has 130 bytes now and had"):
        tokens.check()


def test_no_room(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot be written: .*; set data.cache"):
        Store(tmp_path / "file").facts("facts", KEY, dict)
    full = lambda: open("/dev/full", "w+b")  # noqa: SIM115
    monkeypatch.setattr("tempfile.TemporaryFile", full)
    with pytest.raises(DataError, match=r"cannot be written to .*; set TMPDIR"):
        Store().tokens("tokens", KEY, U2, lambda: parts(60_000))
