"""Bits in a row, most significant first: the codes that frequency tables are written in."""

from __future__ import annotations

from pcqaad.formats.errors import FormatError


class BitWriter:
    """Appends bits; `to_bytes` pads the last byte with zeros."""

    def __init__(self) -> None:
        self._bits: list[str] = []

    def fixed(self, value: int, width: int) -> None:
        """Write 0 <= value < 2**width in `width` bits."""
        if width:
            self._bits.append(f"{value:0{width}b}")

    def gamma(self, value: int) -> None:
        """Write value >= 1 in the Elias gamma code: k zeros, then its k + 1 binary digits."""
        self._bits.append("0" * (value.bit_length() - 1) + f"{value:b}")

    def signed(self, value: int) -> None:
        """Write any integer: zigzag, then Elias gamma."""
        self.gamma((2 * value if value >= 0 else -2 * value - 1) + 1)

    def to_bytes(self) -> bytes:
        """Return everything written."""
        bits = "".join(self._bits)
        size = -(-len(bits) // 8)
        return int(bits.ljust(8 * size, "0"), 2).to_bytes(size, "big") if size else b""


class BitReader:
    """Reads what a BitWriter wrote; raises FormatError past the end."""

    def __init__(self, data: bytes, offset: int = 0) -> None:
        self._data = data
        self._at = 8 * offset

    def fixed(self, width: int) -> int:
        """Read a number of `width` bits."""
        end = self._at + width
        if end > 8 * len(self._data):
            raise FormatError(f"{-(-end // 8)} bytes expected in a table, found {len(self._data)}")
        chunk = int.from_bytes(self._data[self._at >> 3 : (end + 7) >> 3], "big")
        self._at = end
        return (chunk >> (-end & 7)) & ((1 << width) - 1)

    def gamma(self) -> int:
        """Read an Elias gamma code of at most 33 digits."""
        zeros = 0
        while not self.fixed(1):
            zeros += 1
            if zeros > 32:
                raise FormatError("a number of at most 33 bits expected in a table, found a longer one")
        return (1 << zeros) | self.fixed(zeros)

    def signed(self) -> int:
        """Read a zigzag Elias gamma code."""
        value = self.gamma() - 1
        return -((value + 1) >> 1) if value & 1 else value >> 1

    def finish(self) -> int:
        """Return the offset of the next whole byte; raises FormatError where the padding is not zero."""
        if self.fixed(-self._at & 7):
            raise FormatError("zero padding expected after a table, found a set bit")
        return self._at >> 3
