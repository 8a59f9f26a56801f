"""Reads an ONNX file as a message, with bounded memory for any file.

A protobuf message can take a hundred times the memory of its bytes: two bytes make an
empty node. So the fields are counted first, using the descriptors of the message. Only
a file within the limits is parsed.
"""

from pathlib import Path
from typing import Any

import numpy as np

from lstm_jax.interop.errors import InteropError
from lstm_jax.interop.onnx.package import onnx, protobuf_message

LIMIT = 2**27
"""The default limit for the bytes of a file, and of the weights that its nodes use."""

FIELDS, DEPTH = 500_000, 50
"""The most fields of a message and the deepest nesting, far above those of models."""


def read_model(source: str | Path | bytes, limit: int = LIMIT) -> Any:
    """The ``onnx.ModelProto`` in a file, or in its bytes.

    Raises:
        InteropError: the file cannot be read, is larger than ``limit`` bytes, or is not
            a model.
    """
    kind, decode_error = onnx().ModelProto, protobuf_message().DecodeError
    name = "the model" if isinstance(source, bytes) else str(source)
    data = source if isinstance(source, bytes) else _read(Path(source), limit)
    _check_size(name, len(data), limit)
    try:
        _Scan(limit).message(memoryview(data), kind.DESCRIPTOR, DEPTH)
        return kind.FromString(data)
    except _TooLarge as error:
        raise InteropError(
            f"{name} has {error}, expected {limit:,} at most; {_LARGER}."
        ) from error
    except (_Corrupt, decode_error) as error:
        raise InteropError(
            f"{name} is corrupt or not an ONNX file ({error}); expected a model that "
            f"onnx.checker accepts."
        ) from error


def _read(path, limit):
    try:
        if not path.is_file():
            raise InteropError(f"{path} is not a file, expected a file of ONNX.")
        _check_size(path, path.stat().st_size, limit)
        return path.read_bytes()
    except OSError as error:
        raise InteropError(f"cannot read {path}: {error.strerror}.") from error


def _check_size(name, size, limit):
    if size > limit:
        raise InteropError(
            f"{name} has {size:,} bytes, expected {limit:,} at most; {_LARGER}."
        )
    if size == 0:
        raise InteropError(f"{name} is empty, expected a file of ONNX.")


_LARGER = (
    "if the file is to be trusted, pass a larger limit: limit= of from_onnx, --limit "
    "of lstm-jax import"
)


class _Corrupt(Exception):
    pass


class _TooLarge(Exception):
    pass


class _Scan:
    """Counts what parsing a message would create, without parsing it."""

    def __init__(self, limit):
        self.fields, self.numbers = FIELDS, limit

    def message(self, view, descriptor, depth):
        if depth == 0:
            raise _Corrupt(f"messages lie {DEPTH} deep in each other")
        at, end = 0, len(view)
        known = descriptor.fields_by_number
        while at < end:
            self.fields -= 1
            if self.fields < 0:
                raise _Corrupt(f"more than {FIELDS:,} fields")
            key, at = _varint(view, at)
            wire, field = key & 7, known.get(key >> 3)
            if wire == 2:
                size, at = _varint(view, at)
                if size > end - at:
                    raise _Corrupt("it is cut short")
                self.inside(view[at : at + size], field, depth)
                at += size
            else:
                at = _skip(view, at, wire)
        if at > end:
            raise _Corrupt("it is cut short")

    def inside(self, view, field, depth):
        if field is not None and field.message_type is not None:
            self.message(view, field.message_type, depth - 1)
        elif field is not None and field.type == _STRING:
            # The parser accepts other bytes and returns them as bytes.
            try:
                str(view, "utf-8")
            except UnicodeDecodeError as error:
                raise _Corrupt(f"{field.name} is not text") from error
        elif field is not None and field.cpp_type in _WIDTHS:
            # A number has one byte or more, and its last byte is below 128.
            count = np.count_nonzero(np.frombuffer(view, np.uint8) < 128)
            self.numbers -= int(count) * _WIDTHS[field.cpp_type]
            if self.numbers < 0:
                raise _TooLarge("more bytes of integers outside raw_data")


_INT32, _INT64, _UINT32, _UINT64, _BOOL, _ENUM = 1, 2, 3, 4, 7, 8
_WIDTHS = {_INT32: 4, _INT64: 8, _UINT32: 4, _UINT64: 8, _BOOL: 1, _ENUM: 4}
"""Bytes in memory of a packed number, by ``cpp_type`` of a protobuf descriptor. Floats
take as much memory as in the file."""

_STRING = 9
"""The ``type`` of strings."""


def _varint(view, at):
    value = shift = 0
    while True:
        if at >= len(view) or shift > 63:
            raise _Corrupt("it is cut short" if shift <= 63 else "a number is too long")
        byte = view[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at


def _skip(view, at, wire):
    match wire:
        case 0:
            return _varint(view, at)[1]
        case 1:
            return at + 8
        case 5:
            return at + 4
    raise _Corrupt(f"wire type {wire}")
