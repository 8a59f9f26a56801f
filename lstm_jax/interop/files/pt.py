"""Files of ``torch.save``, read only by ``torch.load(weights_only=True)``.

Even then, a file can fill the memory or hash values that take forever. So its pickle
opcodes are checked before anything runs. A file may name tensors, storages and dicts,
and may share only these and plain values.
"""

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lstm_jax.interop.errors import InteropError, UnsupportedError
from lstm_jax.interop.weights.entries import Budget, Entries, by_dots, entry, nothing
from lstm_jax.interop.weights.tensors import leaves, numpy_array

LARGEST_PROGRAM = 32 * 2**20
"""The most bytes of the pickle program (names and shapes, without numbers)."""

NAMES = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch \w+Storage"
    r"|torch (float|bfloat|int|uint)\d+|torch bool"
)
REBUILD_V3 = "torch._utils _rebuild_tensor_v3"
DTYPE_V3 = re.compile(r"torch (float8_\w+|float4_\w+|uint(16|32|64)|bits\w+)")
"""Names in a file for tensors of dtypes that have no storage class."""

QUANTIZED = re.compile(r"torch (ScriptObject|q\w+)|torch\._utils _rebuild_qtensor")
"""What a file of weights may call and name."""

SHAREABLE = {"GLOBAL", "BINPERSID", "REDUCE", "BINUNICODE"}
"""Opcodes whose value may be used again: names, text, storages and tensors."""

PUT, GET = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")
UNKNOWN = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "MEMOIZE", "DUP", "GET", "PUT"}


def open_pt(path: Path, budget: Budget) -> Entries:
    """The tensors of the nested dict in a file, with names joined by dots."""
    import torch

    _check_archive(path)
    tree = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(tree, Mapping):
        raise InteropError(
            f"it holds a {type(tree).__name__}, expected a dict; save a state_dict()."
        )
    return by_dots(
        (name, _entry(name, value, budget, torch)) for name, value in leaves(tree)
    )


def _entry(name, value, budget, torch):
    if not isinstance(value, torch.Tensor):
        return nothing(
            f"{name} is {type(value).__name__}, expected a tensor; give the prefix of "
            f"the weights."
        )
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        return nothing(f"{name} is sparse, quantized or empty, expected numbers.")

    def load():
        budget.spend(value.numel() * value.element_size())
        # Copy, so that the file can be closed.
        copy = value.detach().clone(memory_format=torch.contiguous_format)
        return numpy_array(copy, name)

    dtype = str(value.dtype).removeprefix("torch.")
    return entry(name, tuple(value.shape), dtype, load)


def _check_archive(path):
    """Raises an error for archives that unpack to more than their size, or are not
    weights.
    """
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        raise InteropError(
            "it is not of torch.save of version 1.6 or newer; if it is of an older "
            "one, write it anew: torch.save(torch.load(PATH, weights_only=True), NEW)."
        )
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
        if any(m.filename.endswith("/constants.pkl") for m in members):
            raise InteropError(
                "it is a TorchScript program, which is not run; write its weights: "
                "torch.save(torch.jit.load(PATH).state_dict(), NEW)."
            )
        packed = any(m.compress_type != zipfile.ZIP_STORED for m in members)
        if packed or sum(m.file_size for m in members) > size:
            raise InteropError("it is compressed, which files of torch.save are not.")
        programs = [m for m in members if m.filename.endswith(".pkl")]
        if len(programs) != 1 or programs[0].file_size > LARGEST_PROGRAM:
            raise InteropError("it has no program of weights, or one too large.")
        with archive.open(programs[0]) as file:
            _check_program(file.read(programs[0].file_size))


def _check_program(program):
    memo: dict[Any, str] = {}
    last = ""
    for opcode, operand, _ in pickletools.genops(program):
        name: str = opcode.name
        argument: Any = operand
        if name in UNKNOWN or (name == "PROTO" and operand != 2):
            raise InteropError(f"it has the opcode {name}, which torch does not write.")
        if name == "GLOBAL" and QUANTIZED.fullmatch(argument):
            raise UnsupportedError(
                "it holds a quantised module (_packed_params, or _all_weight_values of "
                "DynamicQuantizeLSTM), whose weights are rounded to integers; save the "
                "state_dict() of the module before it was quantised."
            )
        if name == "GLOBAL" and argument == REBUILD_V3:
            globals_of = (a for op, a, _ in pickletools.genops(program) if op.arg and a)
            dtypes = (str(a) for a in globals_of if DTYPE_V3.fullmatch(str(a)))
            raise UnsupportedError(
                f"it has tensors of dtype {next(dtypes, 'torch ?')[6:]}, which are not "
                f"read; save them as float32: torch.save({{k: v.float() for k, v in "
                f"torch.load(PATH).items()}}, NEW)."
            )
        if name == "GLOBAL" and not NAMES.fullmatch(argument):
            raise InteropError(
                f"it calls {argument.replace(' ', '.')}, which weights do not need; "
                f"save a state_dict(). If you trust the file, "
                f"torch.load(PATH, weights_only=False) has the object to take it from."
            )
        if name in PUT:
            memo[argument] = last
            continue
        if last == "storage" and name not in ("BINUNICODE", *GET):
            raise InteropError("it makes a storage, which weights do not need.")
        if name in GET and memo.get(argument) not in (*SHAREABLE, "storage"):
            raise InteropError("it shares dicts or tuples; save a state_dict().")
        if name == "GLOBAL" and argument.endswith("Storage"):
            name = "storage"
        last = memo[argument] if name in GET else name


def write_pt(file: BinaryIO, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes a state dict of these tensors."""
    import torch

    def tensor(array):
        if array.dtype.name != "bfloat16":
            return torch.tensor(array)
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)

    torch.save({name: tensor(array) for name, array in tensors.items()}, file)
