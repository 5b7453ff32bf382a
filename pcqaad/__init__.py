"""pcqaad: a codec and file format for whole collections of point clouds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcqaad._version import __version__

# In a checkout `formats` and `cli` lie beside this folder, in an install inside it: either way they are
# `pcqaad.formats` and `pcqaad.cli`.
_checkout = Path(__file__).resolve().parent.parent
if (_checkout / "formats" / "SPEC.md").is_file():
    __path__.append(str(_checkout))

if TYPE_CHECKING:
    import pcqaad.collection

    open = pcqaad.collection.Collection
    from pcqaad.clouds import CloudError as CloudError
    from pcqaad.codec import Fitted as Fitted
    from pcqaad.codec import fit as fit
    from pcqaad.collection import Collection as Collection
    from pcqaad.completion.autodecoder import Completion as Completion
    from pcqaad.completion.autodecoder import complete as complete
    from pcqaad.formats.errors import FormatError as FormatError
    from pcqaad.growth import Grown as Grown
    from pcqaad.growth import append as append
    from pcqaad.metrics import emd as emd
    from pcqaad.metrics import emkd as emkd
    from pcqaad.metrics import verify as verify
    from pcqaad.progress import Interrupted as Interrupted
    from pcqaad.settings import PRESETS as PRESETS
    from pcqaad.settings import Settings as Settings
    from pcqaad.settings import SettingsError as SettingsError

# Where each public name lives. Loaded when first used: `pcqaad.open` must not wait for torch.
_HOMES = {
    "CloudError": "clouds",
    "Collection": "collection",
    "Completion": "completion.autodecoder",
    "Fitted": "codec",
    "FormatError": "formats.errors",
    "Grown": "growth",
    "Interrupted": "progress",
    "PRESETS": "settings",
    "Settings": "settings",
    "SettingsError": "settings",
    "append": "growth",
    "complete": "completion.autodecoder",
    "emd": "metrics",
    "emkd": "metrics",
    "fit": "codec",
    "open": "collection",
    "verify": "metrics",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pcqaad' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"pcqaad.{_HOMES[name]}"), "Collection" if name == "open" else name)


def __dir__() -> list[str]:
    return sorted(__all__)
