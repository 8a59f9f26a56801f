"""Texts in the rows of Parquet files and in the records of array_record files.

Each row or record is a text. `joined` makes one text of them: a row that does not end
with a line end gets one, unless it is the last. Rows may be lines or whole documents.
"""

import contextlib
import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from lstm_jax.data.text import DataError, need_pyarrow

TEXT, PARQUET, ARRAY_RECORD = "text", "Parquet", "array_record"

COLUMN = "text"
"""The column of Parquet that is read unless another is named."""

_STARTS = {PARQUET: b"PAR1", ARRAY_RECORD: bytes.fromhex("83af70d10d884a3f")}
"""What files of each kind begin with."""

ROWS = 1024
"""Rows and records that are read at a time."""

BUFFER = 2**20
"""Bytes of a Parquet file that are read at a time. Otherwise a whole column of a row
group is in memory."""


def kind_of(file: BinaryIO) -> str:
    """`TEXT`, `PARQUET` or `ARRAY_RECORD`, from the first bytes of an open file."""
    file.seek(0)
    start = file.read(max(map(len, _STARTS.values())))
    file.seek(0)
    return next((kind for kind, s in _STARTS.items() if start.startswith(s)), TEXT)


def joined(rows: Iterable[list[bytes]]) -> Iterator[bytes]:
    r"""The text of rows, which come some at a time.

    >>> b"".join(joined([[b"a", b"b\n"], [b"", b"c"]]))
    b'a\nb\n\nc'
    """
    ended = True
    for some in rows:
        parts = []
        for row in some:
            if not ended:
                parts.append(b"\n")
            parts.append(row)
            ended = row.endswith(b"\n")
        yield b"".join(parts)


def parquet_rows(file: BinaryIO, called: str, column: str) -> Iterator[list[bytes]]:
    """The UTF-8 in a column of text of an open Parquet file, without missing values.

    Raises:
        DataError: the file is corrupt, has no such column, or the column is not text;
            or the package pyarrow is not installed.
    """
    arrow = need_pyarrow("pyarrow", called)
    parquet = need_pyarrow("pyarrow.parquet", called)
    try:
        table = parquet.ParquetFile(
            file,
            buffer_size=BUFFER,
            pre_buffer=False,
            page_checksum_verification=True,
        )
        schema = table.schema_arrow
        _check_column(arrow, schema, called, column)
        for batch in table.iter_batches(ROWS, columns=[column]):
            array = batch.column(0)
            if arrow.types.is_dictionary(array.type):
                array = array.dictionary_decode()
            yield array.cast(arrow.large_binary()).drop_null().to_pylist()
    except DataError:
        raise
    except (OSError, ValueError, RuntimeError) as error:  # Arrow's have all kinds
        reason = str(error).partition("\n")[0].rstrip(".")
        raise DataError(
            f"{called} is a corrupt Parquet file ({reason}); fetch it again."
        ) from error


def _check_column(arrow, schema, called, column):
    found = schema.get_all_field_indices(column)
    if len(found) != 1:
        has = "more than one column" if found else "no column"
        raise DataError(
            f"{called} has {has} {column!r}, only {', '.join(schema.names)}; "
            f"set data.column to the column of text."
        )
    of, types = schema.field(found[0]).type, arrow.types
    if types.is_dictionary(of):
        of = of.value_type
    if not any(
        is_text(of)
        for is_text in (types.is_string, types.is_large_string, types.is_string_view)
    ):
        raise DataError(
            f"{called}: the column {column!r} holds {of}, expected text (string); "
            f"set data.column to the column of text."
        )


def array_records(path: str | Path, called: str) -> Iterator[list[bytes]]:
    """The records of an array_record file.

    Raises:
        DataError: the file is corrupt or has no records, or the package array_record
            is not installed.
    """
    try:
        name = "array_record.python.array_record_module"
        module = importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise DataError(
            f"{called} needs the package array_record: "
            f"pip install 'lstm-jax[array-record]'."
        ) from error
    reader = None
    try:
        reader = module.ArrayRecordReader(str(path))
        if not (count := reader.num_records()):  # also of a truncated file
            raise DataError(
                f"{called} is an array_record file that is empty or truncated; fetch "
                f"it again."
            )
        for at in range(0, count, ROWS):
            yield reader.read(at, min(at + ROWS, count))
    except DataError:
        raise
    except (OSError, ValueError, LookupError, RuntimeError) as error:
        reason = str(error).partition(";")[0].rstrip(".")
        raise DataError(
            f"{called} is a corrupt array_record file ({reason}); fetch it again."
        ) from error
    finally:
        if reader is not None:
            with contextlib.suppress(RuntimeError):  # it is corrupt
                reader.close()
