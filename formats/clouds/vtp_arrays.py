"""The arrays of VTK's XML files, in each of the ways in which they may be written."""

from __future__ import annotations

import base64
import binascii
import lzma
import re
import zlib
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from pcqaad.formats.clouds.vtk_types import XML
from pcqaad.formats.clouds.words import Words
from pcqaad.formats.errors import FormatError

_COMPRESSORS = {"vtkZLibDataCompressor": "zlib", "vtkLZMADataCompressor": "lzma", "": ""}
_MAX_BLOCKS = 1 << 20


class Arrays:
    """Reads the arrays of a file.

    Args:
        root: of the XML; it tells the order of bytes, the type of their numbers, and the compressor.
        tail: what was appended, behind its first `_`.
        raw: whether that is bytes, or base64.

    Raises `FormatError` for a compressor that is not known here.
    """

    def __init__(self, root: Element, tail: bytes, raw: bool) -> None:
        self._order = ">" if root.get("byte_order") == "BigEndian" else "<"
        self._head = np.dtype(f"{self._order}{'u8' if root.get('header_type') == 'UInt64' else 'u4'}")
        compressor = root.get("compressor", "")
        if compressor not in _COMPRESSORS:
            problem = f"expected arrays that are plain or compressed by zlib or LZMA, found {compressor[:60]!r}"
            raise FormatError(problem)
        self._compressor = _COMPRESSORS[compressor]
        self._tail, self._raw = tail, raw

    def read(self, element: Element, count: int, where: str) -> NDArray[Any]:
        """Return an array of this many numbers in its own type; raises `FormatError` where it holds others."""
        kind, form = element.get("type", ""), element.get("format", "")
        if kind not in XML:
            raise FormatError(f"expected a type of numbers, found {kind[:60]!r}", where=where)
        dtype = np.dtype(f"{self._order}{XML[kind]}")
        if form == "ascii":
            words = Words.of((element.text or "").encode())
            if len(words.starts) != count:
                raise FormatError(f"expected {count} numbers, found {len(words.starts)}", where=where)
            return words.numbers(0, count, dtype.newbyteorder("="), where)
        if form == "appended":
            offset = element.get("offset", "")
            if not re.fullmatch(r"[0-9]{1,18}", offset) or int(offset) > len(self._tail):
                raise FormatError(f"expected an offset in the appended data, found {offset[:60]!r}", where=where)
            stream = _Stream(self._tail, int(offset), self._raw)
        elif form == "binary":
            # The text of an array may begin on a line of its own.
            stream = _Stream((element.text or "").strip().encode(), 0, False)
        else:
            raise FormatError(f"expected the format ascii, binary or appended, found {form[:60]!r}", where=where)
        try:
            plain = self._bytes(stream, count * dtype.itemsize)
        except FormatError as error:
            raise FormatError(error.problem, where=where) from error
        return np.frombuffer(plain, dtype).astype(dtype.newbyteorder("="))

    def _bytes(self, stream: _Stream, size: int) -> bytes:
        """Return the bytes of an array, which has to be of this size."""
        if not self._compressor:
            (claimed,) = self._heads(stream, 1)
            if claimed != size:
                raise FormatError(f"expected {size} bytes, found {claimed}")
            return stream.take(size)
        blocks, of_block, of_last = self._heads(stream, 3)
        if blocks > _MAX_BLOCKS or blocks > stream.left:
            raise FormatError(f"expected blocks of an array, found {blocks}")
        sizes = self._heads(stream, blocks) if blocks else []
        stream.next_part()
        whole = [of_block] * blocks
        if blocks and of_last:
            whole[-1] = of_last
        if sum(whole) != size:
            raise FormatError(f"expected {size} bytes, found {sum(whole)}")
        return b"".join(self._inflated(stream.take(packed), most) for packed, most in zip(sizes, whole, strict=True))

    def _heads(self, stream: _Stream, count: int) -> list[int]:
        heads: list[int] = np.frombuffer(stream.take(count * self._head.itemsize), self._head).tolist()
        return heads

    def _inflated(self, packed: bytes, size: int) -> bytes:
        """Return a block of this size, and inflate no more of it."""
        try:
            if self._compressor == "zlib":
                plain = zlib.decompressobj().decompress(packed, size + 1)
            else:
                plain = lzma.LZMADecompressor().decompress(packed, size + 1)
        except (zlib.error, lzma.LZMAError) as error:
            raise FormatError(f"malformed block: {error}") from error
        if len(plain) != size:
            raise FormatError(f"expected a block of {size} bytes, found another size")
        return plain


class _Stream:
    """Bytes that are taken one part after the other, raw or out of base64."""

    def __init__(self, data: bytes, start: int, raw: bool) -> None:
        self._data, self._place, self._raw = data, start, raw
        self._given = 0  # bytes taken of the part of base64 that begins at the place

    @property
    def left(self) -> int:
        return max(len(self._data) - self._place, 0)

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if self._raw:
            if count > self.left:
                raise FormatError(f"expected {count} bytes, found {self.left}")
            self._place += count
            return self._data[self._place - count : self._place]
        # Whole groups of four letters stand for three bytes each.
        skipped = self._given // 3
        last = -(-(self._given + count) // 3)
        letters = self._data[self._place + 4 * skipped : self._place + 4 * last]
        try:
            plain = base64.b64decode(letters, validate=True)
        except (binascii.Error, ValueError) as error:
            raise FormatError("malformed base64") from error
        plain = plain[self._given - 3 * skipped :][:count]
        if len(plain) < count:
            raise FormatError(f"expected {count} bytes of base64, found {len(plain)}")
        self._given += count
        return plain

    def next_part(self) -> None:
        """Go on behind what was taken, where base64 was filled up to a whole group of letters."""
        if not self._raw:
            self._place += 4 * -(-self._given // 3)
            self._given = 0
