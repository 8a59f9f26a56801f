"""Raw samples from a pipe or a microphone."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from lstm_jax.data.checks import check_count
from lstm_jax.data.text import DataError

HEADERS = {b"RIFF": "WAV", b"fLaC": "FLAC", b"OggS": "OGG", b"FORM": "AIFF"}
"""What sound files begin with. Raw samples have no header."""


def read_pcm(file: BinaryIO, chunk: int = 4096) -> Iterator[np.ndarray]:
    """Pieces of a raw stream as they arrive: float32 ``[n]`` from -1 to 1.

    The stream has one channel of signed 16-bit little-endian samples, which ``arecord
    -f S16_LE -t raw`` and ``ffmpeg -f s16le -ac 1`` write. Each piece has the samples
    that are there; reading does not wait until ``chunk`` samples have come. A read may
    end in half a sample; the next piece then begins with this sample. Half a sample
    at the very end is dropped: the recorder was stopped in the middle of the sample.

    Args:
        file: an open binary file, such as ``sys.stdin.buffer``.
        chunk: a piece has at most so many samples.

    Raises:
        DataError: the stream is a sound file with a header, or is set not to block.

    >>> import io
    >>> [piece.tolist() for piece in read_pcm(io.BytesIO(b"\\0\\x40\\0\\x80"), 1)]
    [[0.5], [-1.0]]
    """
    check_count("chunk", chunk)
    read = getattr(file, "read1", file.read)
    odd, first = b"", True
    while True:
        data = read(2 * chunk - len(odd))
        if data is None:
            raise DataError(
                "the stream has no data at the moment and does not wait for any, "
                "expected a stream that blocks; use os.set_blocking(fd, True)."
            )
        if not data:
            return
        data = odd + data
        if first and data[:4] in HEADERS:
            raise DataError(
                f"the stream is a {HEADERS[data[:4]]} file, expected raw signed 16-bit "
                f"samples without a header; read it with read_sound, or convert it: "
                f"ffmpeg -i FILE -f s16le -ac 1 -."
            )
        first = False
        whole = len(data) // 2 * 2
        data, odd = data[:whole], data[whole:]
        if data:
            yield np.frombuffer(data, "<i2").astype(np.float32) / np.float32(32768)
