"""The types of numbers in files of VTK, by the names that its legacy format and its XML have for them."""

from __future__ import annotations

# Of the legacy format. `long` has 8 bytes, as where such files are written today.
LEGACY = {
    "char": "i1",
    "signed_char": "i1",
    "unsigned_char": "u1",
    "short": "i2",
    "unsigned_short": "u2",
    "int": "i4",
    "unsigned_int": "u4",
    "long": "i8",
    "unsigned_long": "u8",
    "vtktypeint64": "i8",
    "vtktypeuint64": "u8",
    "vtkidtype": "i4",  # written as int, whatever it is in memory
    "float": "f4",
    "double": "f8",
}
XML = {
    **{f"Int{8 * size}": f"i{size}" for size in (1, 2, 4, 8)},
    **{f"UInt{8 * size}": f"u{size}" for size in (1, 2, 4, 8)},
    "Float32": "f4",
    "Float64": "f8",
}
_READ_ALONE = ("long", "unsigned_long", "vtkidtype")
LEGACY_NAMES = {kind: name for name, kind in reversed(LEGACY.items()) if name not in _READ_ALONE}
XML_NAMES = {kind: name for name, kind in XML.items()}
