"""A file that is fetched piece by piece: reading a few columns of a Parquet object transfers little else."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

READ_AHEAD = 2**16
"""The least that is fetched at once: what pyarrow reads first of a Parquet file, and a few milliseconds of network."""


class RangedReader(io.RawIOBase):
    """A seekable stream over `size` bytes, each piece of which `fetch(start, length)` returns whole.

    `tail` are the last bytes, which are there already. Whatever `fetch` raises comes out of the read.
    """

    def __init__(self, size: int, tail: bytes, fetch: Callable[[int, int], bytes]) -> None:
        super().__init__()
        self._size = size
        self._fetch = fetch
        self._tail = (size - len(tail), tail)
        self._held = self._tail
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """The position the next read begins at."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to a position, which may lie beyond the end; `ValueError` if it lies before the beginning."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} lies before the beginning")
        self._position = base + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer, but for the end of the object."""
        view = memoryview(buffer).cast("B")
        length = min(len(view), max(self._size - self._position, 0))
        view[:length] = self._piece(self._position, length)
        self._position += length
        return length

    def readall(self) -> bytes:
        """Everything from the position to the end, in one piece."""
        data = self._piece(self._position, max(self._size - self._position, 0))
        self._position += len(data)
        return data

    def _piece(self, start: int, length: int) -> bytes:
        for first, data in (self._tail, self._held):
            if first <= start and start + length <= first + len(data):
                return data[start - first :][:length]
        if length == 0:
            return b""
        end = min(max(start + length, start + READ_AHEAD), max(self._tail[0], start + length))
        self._held = (start, self._fetch(start, end - start))
        return self._held[1][:length]
