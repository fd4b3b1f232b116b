"""Bytes are packed and unpacked in pieces, as they come."""

from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given, strategies as st
from support.file_depot import DATA

from openai_batches.storage.compression import Inflater, compressor, suffix


@given(
    data=st.binary(max_size=2_000),
    times=st.integers(1, 400),
    members=st.integers(1, 3),
    size=st.integers(1, 5_000),
    kind=st.sampled_from(["gzip", "deflate"]),
)
def test_expanding_in_pieces(data: bytes, times: int, members: int, size: int, kind: str) -> None:
    """However an encoded body is cut into pieces, what comes out is the content, in pieces that fit into memory."""
    one = (gzip.compress if kind == "gzip" else zlib.compress)(data * times)
    body = one * members
    inflater = Inflater(kind)
    pieces = [piece for start in range(0, len(body), size) for piece in inflater.expand(body[start : start + size])]
    assert b"".join(pieces) == data * times * members
    assert inflater.is_whole


@pytest.mark.parametrize("size", [1 << 20, (1 << 20) + 1, (1 << 20) - 1, 3 << 20, 5_000_000])
def test_expanding_a_lot(size: int) -> None:
    """A small piece that expands to much comes out bit by bit, to its last byte."""
    inflater = Inflater("gzip")
    lengths = [len(piece) for piece in inflater.expand(gzip.compress(bytes(size)))]
    assert sum(lengths) == size
    assert max(lengths) <= 1 << 20
    assert inflater.is_whole


def test_compressions_and_names() -> None:
    """Each compression has its suffix, and what it makes can be read."""
    assert [suffix(None), suffix("gzip"), suffix("zstd")] == ["", ".gz", ".zst"]
    stream = compressor("gzip")
    assert gzip.decompress(stream.compress(DATA) + stream.flush()) == DATA
    stream = compressor("zstd")
    assert zstandard.ZstdDecompressor().decompressobj().decompress(stream.compress(DATA) + stream.flush()) == DATA
