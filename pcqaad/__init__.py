"""pcqaad: a codec and file format for whole collections of point clouds."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcqaad._version import __version__

# In an install `formats` and `cli` lie inside this folder, in a checkout beside it, with two links to them.
_links = Path(__file__).resolve().parent.parent / "typings" / "pcqaad"
if (_links / "formats" / "SPEC.md").is_file():
    __path__.append(str(_links))

if TYPE_CHECKING:
    import pcqaad.bitstream.collection

    open = pcqaad.bitstream.collection.Collection
    from pcqaad.bitstream.collection import Collection as Collection
    from pcqaad.bitstream.info import Info as Info
    from pcqaad.codec import Fitted as Fitted
    from pcqaad.codec import fit as fit
    from pcqaad.errors import CheckpointError as CheckpointError
    from pcqaad.errors import CloudError as CloudError
    from pcqaad.errors import DivergenceError as DivergenceError
    from pcqaad.errors import Error as Error
    from pcqaad.errors import FormatError as FormatError
    from pcqaad.errors import GoalError as GoalError
    from pcqaad.errors import Interrupted as Interrupted
    from pcqaad.errors import SettingsError as SettingsError
    from pcqaad.evaluation.metrics import emd as emd
    from pcqaad.evaluation.metrics import emkd as emkd
    from pcqaad.evaluation.verify import Verification as Verification
    from pcqaad.evaluation.verify import verify as verify
    from pcqaad.latents.append import Appended as Appended
    from pcqaad.latents.append import append as append
    from pcqaad.latents.complete import Completion as Completion
    from pcqaad.latents.complete import complete as complete
    from pcqaad.monitor import Monitor as Monitor
    from pcqaad.monitor import Progress as Progress
    from pcqaad.monitor import Stage as Stage
    from pcqaad.settings import PRESETS as PRESETS
    from pcqaad.settings import Settings as Settings

# Where each public name lives. Loaded when first used: `pcqaad.open` must not wait for torch.
_HOMES = {
    "CheckpointError": "errors",
    "CloudError": "errors",
    "DivergenceError": "errors",
    "Error": "errors",
    "FormatError": "errors",
    "GoalError": "errors",
    "Info": "bitstream.info",
    "Interrupted": "errors",
    "SettingsError": "errors",
    "Collection": "bitstream.collection",
    "Completion": "latents.complete",
    "Fitted": "codec",
    "Appended": "latents.append",
    "Monitor": "monitor",
    "PRESETS": "settings",
    "Progress": "monitor",
    "Stage": "monitor",
    "Verification": "evaluation.verify",
    "Settings": "settings",
    "append": "latents.append",
    "complete": "latents.complete",
    "emd": "evaluation.metrics",
    "emkd": "evaluation.metrics",
    "fit": "codec",
    "open": "bitstream.collection",
    "verify": "evaluation.verify",
}

__all__ = ["__version__", *_HOMES]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'pcqaad' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"pcqaad.{_HOMES[name]}"), "Collection" if name == "open" else name)


def __dir__() -> list[str]:
    return sorted(__all__)
