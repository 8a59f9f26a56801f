"""Loads the compiled library: finds it, checks that it fits jaxlib, and registers it.

A library that was built for a newer version of XLA's foreign function interface than
the installed jaxlib must not be registered. If it is, jaxlib cannot start its CPU
backend, and no computation runs in the process. A library for an older version works.
So the versions are compared first, and a library that does not fit is not loaded.
"""

import ctypes
import functools
import os
import re
from pathlib import Path

import jax.ffi

PREFIX = "lstm_jax_"
TARGETS = ("forward", "backward", "backward16", "activate")
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
    try:
        known = _names(library)
        handlers = {PREFIX + name: getattr(library, PREFIX + name) for name in TARGETS}
    except AttributeError:
        return "the kernel is of another version of lstm_jax; install lstm_jax again."
    named = os.environ.get("LSTM_JAX_CPU")
    if named and named not in known:
        return (
            f"LSTM_JAX_CPU is {named!r}, and the kernel has {', '.join(known)} on this "
            f"machine; set it to one of these, or to none."
        )
    for name, handler in handlers.items():
        capsule = jax.ffi.pycapsule(handler)
        jax.ffi.register_ffi_target(name, capsule, platform="cpu")
    return library


def misfit(built: tuple[int, int], installed: tuple[int, int] | None) -> str | None:
    """Says why a library for the version ``built`` must not be loaded; ``None`` if it
    may.
    """
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
    """The interface version of the installed jaxlib, from its header."""
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
    """The registered name of a library function; raises an error if there is no
    library.
    """
    _require()
    return PREFIX + name


def instruction_set() -> str:
    """The instruction set in use, one of `instruction_sets`."""
    library = _require()
    library.lstm_jax_instruction_set.restype = ctypes.c_char_p
    return library.lstm_jax_instruction_set().decode()


def instruction_sets() -> list[str]:
    """Those that the library was compiled for and that this processor has.

    The environment variable LSTM_JAX_CPU names one; by default it is the first.
    """
    return _names(_require())


def multiplies_bfloat16() -> bool:
    """Whether it multiplies bfloat16 as such, not as float32."""
    return instruction_set() in ("amx", "avx512bf16")


def _names(library):
    library.lstm_jax_instruction_sets.restype = ctypes.c_char_p
    return library.lstm_jax_instruction_sets().decode().split()


def _require():
    if isinstance(library := load(), str):
        raise NotImplementedError(library)
    return library


def _find():
    """Finds the library next to this file or where an editable install put it. The
    environment variable LSTM_JAX_NATIVE names another file.
    """
    import lstm_jax.kernels.cpu as room

    if named := os.environ.get("LSTM_JAX_NATIVE"):
        return Path(named)
    folders = map(Path, room.__path__)
    return next((p for f in folders if (p := f / PATH.name).is_file()), None)
