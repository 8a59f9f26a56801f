"""Whether a WAV file is cut off, which libsndfile does not say."""

import os
from typing import BinaryIO, Literal

ENDIAN: dict[bytes, Literal["little", "big"]] = {b"RIFF": "little", b"RIFX": "big"}
"""By the first bytes of a file. RF64, for more than 4 GiB, is not looked into."""

STREAMED = 0x7FFF_0000
"""Programs that write into a pipe do not know the length. Their headers have a number
from here on, or 0."""

SLACK = 64
"""So many bytes may be missing. Some programs count their header as sound."""


def missing_bytes(file: BinaryIO) -> int:
    """How many bytes of sound the header of a WAV file promises that are not there.

    0 where nothing is missing, the length is not known, or the file is not WAV.

    >>> import io
    >>> header = b"RIFF\\xff\\0\\0\\0WAVEdata\\xf0\\0\\0\\0"
    >>> missing_bytes(io.BytesIO(header + bytes(100)))
    140
    """
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    order = ENDIAN.get(head[:4])
    if order is None or head[8:] != b"WAVE":
        return 0
    while len(chunk := file.read(8)) == 8:
        length = int.from_bytes(chunk[4:], order)
        if chunk[:4] == b"data":
            missing = length - (size - file.tell())
            return missing if missing > SLACK and length < STREAMED else 0
        file.seek(length + length % 2, os.SEEK_CUR)
    return 0
