"""Files of ``torch.save``, read by ``torch.load(weights_only=True)`` and no other way.

Even so a file can make it call what fills the memory, or hash what takes forever. So
its program of pickle opcodes is looked over before anything runs it: it may name
tensors, storages and dicts, and share nothing but these and plain values.
"""

import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lstm_jax.interop.errors import InteropError

LARGEST_PROGRAM = 32 * 2**20
"""Bytes of pickle, names and shapes; numbers are not in it."""

NAMES = re.compile(
    r"collections OrderedDict"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
    r"|torch \w+Storage"
    r"|torch (float|bfloat|int|uint)\d+|torch bool"
)
"""What a file of weights calls and names."""

SHAREABLE = {"GLOBAL", "BINPERSID", "REDUCE", "BINUNICODE"}
"""Opcodes whose value may be used again: names, text, storages and tensors."""

PUT, GET = ("BINPUT", "LONG_BINPUT"), ("BINGET", "LONG_BINGET")
UNKNOWN = {"STACK_GLOBAL", "INST", "OBJ", "NEWOBJ", "MEMOIZE", "DUP", "GET", "PUT"}


def read_pt(path: Path, prefix: str, limit: int) -> Mapping[str, Any]:
    """The nested dict of tensors in a file; ``limit`` bounds their bytes."""
    import torch

    _check_archive(path)
    tree = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    if not isinstance(tree, Mapping):
        raise InteropError(
            f"it holds a {type(tree).__name__}, expected a dict; save a state_dict()."
        )
    left = [limit]
    return _tensors(tree, "", prefix, left, torch)


def _tensors(tree, path, prefix, left, torch):
    """What is under the prefix, copied; the file need not stay open for it."""
    kept = {}
    for key, value in tree.items():
        name = f"{path}{key}".replace("/", ".")
        if isinstance(value, Mapping):
            if name.startswith(prefix) or prefix.startswith(name):
                kept[key] = _tensors(value, name + ".", prefix, left, torch)
        elif name.startswith(prefix):
            kept[key] = _copy(value, name, left, torch)
    return kept


def _copy(value, name, left, torch):
    if not isinstance(value, torch.Tensor):
        raise InteropError(
            f"{name} is {type(value).__name__}, expected a tensor; give the prefix of "
            f"the weights."
        )
    if value.layout != torch.strided or value.is_quantized or value.is_meta:
        raise InteropError(f"{name} is sparse, quantized or empty, expected numbers.")
    left[0] -= value.numel() * value.element_size()
    if left[0] < 0:
        raise InteropError(
            "the tensors would take far more memory than the file has bytes."
        )
    return value.detach().clone(memory_format=torch.contiguous_format)


def _check_archive(path):
    """Refuses archives that unpack to more than they are, and programs of others."""
    size = path.stat().st_size
    if not zipfile.is_zipfile(path):
        raise InteropError("it is not of torch.save of version 1.6 or newer.")
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
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
        if name == "GLOBAL" and not NAMES.fullmatch(argument):
            raise InteropError(
                f"it calls {argument.replace(' ', '.')}, which weights do not need; "
                f"save a state_dict()."
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
    """A state dict of these tensors."""
    import torch

    def tensor(array):
        if array.dtype.name != "bfloat16":
            return torch.tensor(array)
        return torch.tensor(array.view(np.int16)).view(torch.bfloat16)

    torch.save({name: tensor(array) for name, array in tensors.items()}, file)
