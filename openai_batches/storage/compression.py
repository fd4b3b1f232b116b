"""Compress and expand a stream of bytes, piece by piece.

Sources: https://www.rfc-editor.org/rfc/rfc1952 (gzip), https://www.rfc-editor.org/rfc/rfc8878 (zstd)
"""

from __future__ import annotations

import zlib
from importlib import import_module
from pathlib import PurePath
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeAlias

from openai_batches.errors import InputError, TransportError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Compression", "Compressor", "Inflater", "compression_of", "compressor", "suffix"]

Compression: TypeAlias = Literal["gzip", "zstd"]

_GZIP = 16 + zlib.MAX_WBITS
_PIECE_BYTES = 1024 * 1024
_SUFFIXES: dict[Compression | None, str] = {None: "", "gzip": ".gz", "zstd": ".zst"}
# The window bits of zlib for each encoding: deflate is zlib's format, though some servers leave its frame out.
_WINDOWS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": zlib.MAX_WBITS}


class Compressor(Protocol):
    """Takes pieces, gives compressed ones; ``flush`` ends the stream."""

    def compress(self, data: bytes, /) -> bytes:
        """Return what of the stream is ready after this piece."""
        ...

    def flush(self) -> bytes:
        """Return the end of the stream."""
        ...


def suffix(compression: Compression | None) -> str:
    """Return the suffix of the names of files that are compressed so."""
    if compression not in _SUFFIXES:
        raise InputError(f"compress must be 'gzip', 'zstd' or None, not {compression!r}")
    return _SUFFIXES[compression]


def compression_of(name: str) -> Compression | None:
    """Return how a file is compressed, by the suffix of its name."""
    ending = PurePath(name).suffix.lower()
    return next((known for known, its in _SUFFIXES.items() if its == ending), None)


def compressor(compression: Compression) -> Compressor:
    """Return a compressor for one stream; zstd raises InputError where its package is not installed."""
    suffix(compression)
    if compression == "gzip":
        return zlib.compressobj(wbits=_GZIP)
    try:
        zstandard: Any = import_module("zstandard")
    except ImportError as error:
        raise InputError("zstd needs the package zstandard: pip install 'openai_batches[zstd]'") from error
    made: Compressor = zstandard.ZstdCompressor().compressobj()
    return made


class Inflater:
    """Expands the body of one answer, by its ``Content-Encoding``, and tells whether it is whole."""

    def __init__(self, encoding: str) -> None:
        if encoding not in _WINDOWS:
            raise TransportError(f"the answer has an encoding that was not asked for: {encoding[:40]}", can_pass=False)
        self._encoding = encoding
        self._stream = zlib.decompressobj(_WINDOWS[encoding])

    @property
    def is_whole(self) -> bool:
        """Whether the stream has come to its end, with the checksum right."""
        return self._stream.eof

    def expand(self, data: bytes) -> Iterator[bytes]:
        """Yield what a piece expands to, in pieces of at most 1 MiB."""
        try:
            while True:
                if self._stream.eof:
                    if not data:
                        return
                    self._stream = zlib.decompressobj(_WINDOWS[self._encoding])  # another member of the same stream
                piece = self._stream.decompress(data, _PIECE_BYTES)
                yield piece
                data = self._stream.unconsumed_tail or self._stream.unused_data
                if not data and len(piece) < _PIECE_BYTES:
                    return
        except zlib.error as error:
            raise TransportError(f"the answer's {self._encoding} encoding is damaged: {error}") from error
