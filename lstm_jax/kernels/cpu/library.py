"""The compiled library: whether it is there, whether it fits, and its registration.

A library built against a newer version of XLA's foreign function interface than that of
the installed jaxlib must not be registered: jaxlib then fails to start its CPU backend,
and with it every computation of the process. One built against an older version works.
Hence the versions are compared first, and a library that does not fit is left alone.
"""

import ctypes
import functools
import os
import re
from pathlib import Path

import jax.ffi

PREFIX = "lstm_jax_"
TARGETS = ("forward", "backward", "activate")
PATH = Path(__file__).with_name("lstm_jax_native.so")


@functools.cache
def load() -> ctypes.CDLL | str:
    """The registered library, or a sentence that says why there is none."""
    path = _find()
    if path is None:
        return (
            "the kernel was not built when lstm_jax was installed, for want of a C++ "
            "compiler or for what `pip install -v` shows; install lstm_jax again."
        )
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        return f"the kernel cannot be opened: {error}."
    built = (library.lstm_jax_api_major(), library.lstm_jax_api_minor())
    if problem := misfit(built, installed_version()):
        return problem
    for name in TARGETS:
        handler = jax.ffi.pycapsule(getattr(library, PREFIX + name))
        jax.ffi.register_ffi_target(PREFIX + name, handler, platform="cpu")
    return library


def misfit(built: tuple[int, int], installed: tuple[int, int] | None) -> str | None:
    """Why a library built against this version of the interface must stay closed."""
    if installed is None:
        return "the version of jaxlib's foreign function interface is unknown."
    if built[0] == installed[0] and built[1] <= installed[1]:
        return None
    built_name, installed_name = (".".join(map(str, v)) for v in (built, installed))
    return (
        f"the kernel was built for version {built_name} of XLA's foreign function "
        f"interface and the installed jaxlib has {installed_name}; install lstm_jax "
        f"again beside this jaxlib."
    )


def installed_version() -> tuple[int, int] | None:
    """That of the installed jaxlib's interface, as its header states it."""
    header = Path(jax.ffi.include_dir()) / "xla/ffi/api/c_api.h"
    if not header.is_file():
        return None
    found = dict(
        re.findall(r"#define XLA_FFI_API_(MAJOR|MINOR) (\d+)", header.read_text())
    )
    if len(found) < 2:
        return None
    return int(found["MAJOR"]), int(found["MINOR"])


def target(name: str) -> str:
    """The registered name of a function of the library; raises where there is none."""
    _require()
    return PREFIX + name


def instruction_set() -> str:
    """That in use, of those the library was compiled for."""
    library = _require()
    library.lstm_jax_instruction_set.restype = ctypes.c_char_p
    return library.lstm_jax_instruction_set().decode()


def _require():
    if isinstance(library := load(), str):
        raise NotImplementedError(library)
    return library


def _find():
    """Beside this file, or where an editable install has put it, unless the environment
    variable LSTM_JAX_NATIVE names another."""
    import lstm_jax.kernels.cpu as room

    if named := os.environ.get("LSTM_JAX_NATIVE"):
        return Path(named)
    folders = map(Path, room.__path__)
    return next((p for f in folders if (p := f / PATH.name).is_file()), None)
