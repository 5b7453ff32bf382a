"""LZF, the compression of PCD files: runs of new bytes, and bytes that stood up to 8 KiB before."""

from __future__ import annotations

from pcqaad.formats.errors import FormatError

_MOST = 264  # bytes that 3 bytes may stand for


def inflate(packed: bytes, size: int) -> bytes:
    """Return the bytes, which have to be so many; raises `FormatError` where they are not, before they are made."""
    if size > _MOST * len(packed):
        raise FormatError(f"claims {size} bytes, more than {len(packed)} compressed ones stand for")
    plain = bytearray()
    place, end = 0, len(packed)
    try:
        while place < end:
            control = packed[place]
            place += 1
            if control < 32:
                plain += packed[place : place + control + 1]
                if place + control + 1 > end:
                    raise IndexError
                place += control + 1
                continue
            length = control >> 5
            if length == 7:
                length += packed[place]
                place += 1
            back = ((control & 31) << 8) + packed[place] + 1
            place += 1
            length += 2
            start = len(plain) - back
            if start < 0:
                raise IndexError
            # The bytes may overlap those that they make.
            some = plain[start : start + length]
            plain += some if back >= length else (some * (length // back + 1))[:length]
            if len(plain) > size:
                break
    except IndexError:
        raise FormatError("malformed LZF: it refers to bytes that are not there") from None
    if len(plain) != size:
        raise FormatError(f"expected {size} bytes of LZF, found {'more' if len(plain) > size else len(plain)}")
    return bytes(plain)
