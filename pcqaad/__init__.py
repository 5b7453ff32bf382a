"""pcqaad: a codec and file format for whole collections of point clouds."""

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pcqaad._version import __version__

# In an install `formats` and `cli` lie inside this folder, in a checkout beside it, with two links to them.
_links = Path(__file__).resolve().parent.parent / "typings" / "pcqaad"
if (_links / "formats" / "SPEC.md").is_file():
    __path__.append(str(_links))

__all__ = ["PRESETS", "Monitor", "Progress", "Settings", "Stage", "__version__"]
__all__ += ["CheckpointError", "CloudError", "DivergenceError", "Error", "FormatError", "GoalError", "Interrupted"]
__all__ += ["Collection", "Info", "SettingsError", "Verification", "emd", "emkd", "open", "verify"]
__all__ += ["Appended", "Completion", "Fitted", "append", "complete", "fit"]

# Where these names live. They are loaded when they are used, the light modules first: `pcqaad.open` must not wait for
# torch.
_HOMES = [
    "errors",
    "monitor",
    "settings",
    "bitstream.collection",
    "bitstream.info",
    "evaluation.metrics",
    "evaluation.verify",
]
_HOMES += ["codec", "latents.append", "latents.complete"]

if TYPE_CHECKING:
    from pcqaad.bitstream.collection import Collection
    from pcqaad.bitstream.info import Info
    from pcqaad.codec import Fitted, fit
    from pcqaad.errors import (
        CheckpointError,
        CloudError,
        DivergenceError,
        Error,
        FormatError,
        GoalError,
        Interrupted,
        SettingsError,
    )
    from pcqaad.evaluation.metrics import emd, emkd
    from pcqaad.evaluation.verify import Verification, verify
    from pcqaad.latents.append import Appended, append
    from pcqaad.latents.complete import Completion, complete
    from pcqaad.monitor import Monitor, Progress, Stage
    from pcqaad.settings import PRESETS, Settings

    open = Collection


def __getattr__(name: str) -> Any:
    if name in __all__:
        wanted = "Collection" if name == "open" else name
        modules = (import_module(f"pcqaad.{home}") for home in _HOMES)
        return next(getattr(module, wanted) for module in modules if hasattr(module, wanted))
    raise AttributeError(f"module 'pcqaad' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
