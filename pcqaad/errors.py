"""Every error that pcqaad raises on purpose: one tree, and a message of one line for each.

`except pcqaad.Error` catches all of them but `Interrupted`, which is no error.
"""

from __future__ import annotations

from pcqaad.formats.errors import Error as Error
from pcqaad.formats.errors import FormatError as FormatError


class CloudError(Error):
    """Points that cannot be compressed, matched or measured: which cloud, and why."""


class SettingsError(Error):
    """A choice that cannot be carried out: what was asked for, and what would do."""


class CheckpointError(Error):
    """A checkpoint that a fit cannot go on from: which file, and why."""


class DivergenceError(Error):
    """A fit whose numbers grew beyond all bounds: there is no model to save."""


class GoalError(Error):
    """A size or an error that was asked for and that a fit did not reach: how near it came."""


class Interrupted(Exception):
    """The caller asked to stop. `resumable` says whether a checkpoint was left to go on from."""

    def __init__(self, resumable: bool) -> None:
        self.resumable = resumable
        super().__init__("interrupted" + ("" if resumable else " before there was anything to resume from"))
