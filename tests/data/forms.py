"""The same lines of text in every kind of file."""

import gzip
import importlib.util
from typing import Any

import pyarrow as arrow
from pyarrow import parquet

RECORDS = importlib.util.find_spec("array_record") is not None
"""Whether array_record is installed."""


def zst(data):
    """One frame of zstd."""
    sink = arrow.BufferOutputStream()
    with arrow.CompressedOutputStream(sink, "zstd") as file:
        file.write(data)
    return sink.getvalue().to_pybytes()


def write_parquet(path, rows, of=None, **options):
    table = arrow.table({"n": [*range(len(rows))], "text": arrow.array(rows, of)})
    parquet.write_table(table, path, **options)


def write_records(path, rows):
    from array_record.python.array_record_module import ArrayRecordWriter

    writer = ArrayRecordWriter(str(path), "group_size:7")
    for row in rows:
        writer.write(row if isinstance(row, bytes) else row.encode())
    writer.close()


def lines_of(lines):
    return "".join(line + "\n" for line in lines).encode()


FORMS: dict[str, Any] = {
    "txt": lambda path, lines: path.write_bytes(lines_of(lines)),
    "gz": lambda path, lines: path.write_bytes(gzip.compress(lines_of(lines))),
    "zst": lambda path, lines: path.write_bytes(zst(lines_of(lines))),
    "parquet": lambda path, lines: write_parquet(path, lines, row_group_size=9),
    "array_record": write_records,
}
"""From the name of a form to a function that writes lines, which have no line end."""
