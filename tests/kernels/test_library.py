"""Whether the compiled library is opened, and what happens where there is none."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lstm_jax import init_lstm, lstm, ops
from lstm_jax.cli import main
from lstm_jax.kernels.cpu import library

PARAMS = init_lstm(jax.random.key(0), 3, 5)
XS = jnp.ones((8, 2, 3))


@pytest.fixture
def fresh():
    """`library.load` as in a new process, and as it was afterwards."""
    library.load.cache_clear()
    yield
    library.load.cache_clear()


@pytest.fixture
def nothing_registered(monkeypatch):
    def refuse(name, *args, **kwargs):
        raise AssertionError(f"{name} was registered")

    monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)


def takes_the_scan():
    run = jax.jit(lambda xs: lstm(PARAMS, None, xs)[1])
    return "lstm_jax_" not in run.lower(XS).as_text()


def falls_back_to_scan(because, capsys):
    assert takes_the_scan()
    assert lstm(PARAMS, None, XS)[1].shape == (8, 2, 5)
    with pytest.raises(NotImplementedError, match=because):
        lstm(PARAMS, None, XS, implementation="native")
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if '"native"' in line]
    assert "not available" in line
    assert because in line


def test_a_library_that_was_not_built(fresh, monkeypatch, capsys):
    monkeypatch.setattr(library, "_find", lambda: None)
    falls_back_to_scan("for want of a C", capsys)


def test_a_damaged_library(fresh, monkeypatch, capsys, tmp_path):
    damaged = tmp_path / library.PATH.name
    damaged.write_bytes(b"\x7fELF and no more")
    monkeypatch.setattr(library, "_find", lambda: damaged)
    falls_back_to_scan("cannot be opened", capsys)


@pytest.mark.usefixtures("nothing_registered")
def test_a_library_newer_than_jaxlib_is_left_closed(fresh, monkeypatch, capsys):
    """Registered, it would keep jaxlib's CPU backend from starting at all."""
    monkeypatch.setattr(library, "installed_version", lambda: (0, 0))
    falls_back_to_scan("0.0; install lstm_jax again", capsys)


@pytest.mark.usefixtures("nothing_registered")
def test_a_library_of_another_version(fresh, monkeypatch, capsys):
    monkeypatch.setattr(library, "TARGETS", (*library.TARGETS, "of_tomorrow"))
    falls_back_to_scan("of another version of lstm_jax", capsys)


def test_instructions_that_are_not_there(fresh, monkeypatch, capsys):
    monkeypatch.setenv("LSTM_JAX_CPU", "mmx")
    falls_back_to_scan("LSTM_JAX_CPU is 'mmx', and the kernel has", capsys)


def test_not_on_an_accelerator(monkeypatch):
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert takes_the_scan()
    with pytest.raises(NotImplementedError, match="JAX computes on gpu here"):
        lstm(PARAMS, None, XS, implementation="native")


def test_which_versions_fit():
    assert library.misfit((0, 3), (0, 3)) is None
    assert library.misfit((0, 3), (0, 5)) is None
    assert "built for version 0.5" in library.misfit((0, 5), (0, 3))
    assert library.misfit((0, 3), (1, 3))
    assert "unknown" in library.misfit((0, 3), None)


def test_it_is_here():
    """Built by the installation: there is a compiler wherever these tests run."""
    assert ops.availability()["native"].startswith("available, ")
    assert library.installed_version() >= (0, 3)


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_activations_to_four_units_in_the_last_place(name):
    """Over all magnitudes; also of what is tiny, and NaN stays NaN."""
    rng = np.random.default_rng(0)
    spread = np.exp(rng.uniform(-30, math.log(87), 200_000)) * rng.choice(
        [-1, 1], 200_000
    )
    x = np.concatenate([spread, rng.normal(0, 3, 200_000), [0.0, -0.0, 9.02, 1e30]])
    x = x.astype(np.float32)
    call = jax.ffi.ffi_call(
        library.target("activate"), jax.ShapeDtypeStruct(x.shape, jnp.float32)
    )
    y = np.asarray(call(x, tanh=np.bool_(name == "tanh")))
    wide = x.astype(np.float64)
    want = np.tanh(wide) if name == "tanh" else np.exp(-np.logaddexp(0, -wide))
    ulp = np.spacing(np.abs(want).astype(np.float32)).astype(np.float64)
    assert (np.abs(y - want) / ulp).max() <= 4
    assert (np.signbit(y) == np.signbit(want)).all()
    (nan,) = jax.ffi.ffi_call(
        library.target("activate"), [jax.ShapeDtypeStruct((1,), jnp.float32)]
    )(jnp.full(1, jnp.nan), tanh=np.bool_(name == "tanh"))
    assert np.isnan(nan).all()
