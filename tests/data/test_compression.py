"""The yardstick beside a model: what xz is given to read."""

import lzma

import pytest

from lstm_jax.data import compression


def xz_bits(rest, text, monkeypatch):
    """The figure when xz makes 1 byte of 10, and the lengths it was given."""
    lengths = []

    class Compressor:
        def __init__(self, preset):
            lengths.append(0)

        def compress(self, data):
            lengths[-1] += len(data)
            return b""

        def flush(self):
            return b"." * (lengths[-1] // 10)

    monkeypatch.setattr(lzma, "LZMACompressor", Compressor)
    return compression.xz_bits(rest, text), lengths


def test_a_small_text_is_read_whole(monkeypatch):
    bits, lengths = xz_bits("é" * 900, "a" * 100, monkeypatch)
    assert lengths == [1900, 1800]
    assert bits == 0.8


@pytest.mark.parametrize("character", ["a", "é"])
def test_of_a_large_text_xz_reads_no_more_than_it_can_see(character, monkeypatch):
    _, lengths = xz_bits(character * (65 * 2**20), "b" * 1000, monkeypatch)
    assert lengths == [64 * 2**20 + 1000, 64 * 2**20]
