"""pcqaad: a codec and file format for whole collections of point clouds."""

from pathlib import Path

from pcqaad._version import __version__

# In a checkout `formats` and `cli` lie beside this folder, in an install inside it: either way they are
# `pcqaad.formats` and `pcqaad.cli`.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "formats" / "SPEC.md").is_file():
    __path__.append(str(_checkout))

__all__ = ["__version__"]
