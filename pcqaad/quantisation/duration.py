"""How long quantising and judging will take: a fit that minutes bound leaves them that much."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import emkd
from pcqaad.formats.coding.fields import Cells, round_fields
from pcqaad.parallel import cores
from pcqaad.quantisation.calibration import Calibration
from pcqaad.quantisation.clock import Step
from pcqaad.quantisation.evaluator import Evaluator
from pcqaad.quantisation.principal import Plan
from pcqaad.quantisation.probe import PROBED_POINTS
from pcqaad.quantisation.step_sizes import template_step_size, to_grid

# How often each is done, as a rule: whole clouds decoded to probe, candidates of each kind for each model, and models.
_PROBED_CLOUDS = 40
_LEADING = 3
_LEADING_CLOUDS = 8
_CANDIDATES = 3
_WHOLE = 4  # beside the one that the record repeats
# How often components are rounded, as a rule.
_ROUNDED_COMPONENTS = 14
# Decoding in integers beside decoding in floats, and error feedback beside its calibration.
_INTEGERS = 3.0
_FEEDBACK = 0.5
# Surfaces tried, as a rule. Each takes a mesh, and every cloud matched all points at once beside the cells of EM-kD.
_SURFACES = 3
_MATCHED = 1.3
# Seconds of a point, on a core of 2.5 GHz: of a mesh of few vertices, and of the dense surface before it, of no more.
_MESH, _DENSE, _DENSEST = 6e-5, 2e-4, 49152
# At which a template is about as fine as files have it.
_LAMBDA = 1e-9
# The part of a fit that its record may take. Of many or large clouds it holds fewer then.
_RECORD = 0.05


def seconds_to_encode(model: Model, evaluator: Evaluator, components: bool, minutes: float) -> float:
    """Estimate the seconds that `choice.encode` and the fidelity take on a quiet machine, from what a part takes.

    Decides as well how many clouds the record of a fit of these minutes may hold.
    """
    targets, points = evaluator.clouds.targets, model.architecture.points
    decoder = FloatDecoder(model)
    # The first call loads or compiles something.
    emkd(targets[0][:8], targets[1][:8], workers=1)
    decoded = decoder.decode(model.latents[0])
    decode = _seconds(lambda: decoder.decode(model.latents[0]))
    match = _seconds(lambda: emkd(targets[0], decoded, workers=1))
    calibrate = _seconds(lambda: Calibration(model))
    judge = (_INTEGERS * decode + match) / cores()
    evaluator.clock.note(Step.RECORD, judge)
    evaluator.clock.most_recorded = int(_RECORD * 60 * minutes / judge)

    part, probed = len(evaluator.judged(model.architecture)) / points, min(PROBED_POINTS / points, 1)
    # Known pairs need no matching.
    pairs = judge - match / cores() if evaluator.by_pairs else judge
    judged = len(evaluator.sample(evaluator.measured)) * part * pairs
    leading = _LEADING * (_FEEDBACK * calibrate + _LEADING_CLOUDS * part * decode)
    candidates = _CANDIDATES * (_FEEDBACK * calibrate + judged)
    drafts, linear = 1, 0.0
    if components and not evaluator.clouds.registered:
        matched = len(targets) + len(evaluator.sample(evaluator.measured))
        surface = _MESH * points + _MATCHED * matched * match / cores()
        evaluator.clock.note(Step.SURFACE, surface)
        drafted = _CANDIDATES * len(evaluator.confirmed()) * judge
        linear = _DENSE * min(points, _DENSEST) + _SURFACES * (surface + drafted)
    if components:
        drafts = 2
        fields = np.tile(model.template * 256, min(Plan().most, len(targets) - 1) // 2 + 1)
        grid, _, bits = to_grid(model.template, template_step_size(model.template, _LAMBDA))
        over = Cells(grid, bits, kept=True)
        linear += _seconds(over.stages) + _ROUNDED_COMPONENTS * _seconds(lambda: round_fields(fields, over))
        linear += min(Plan().clouds, len(targets)) * decode
    whole = _WHOLE * len(evaluator.confirmed()) * pairs + sum(evaluator.to_come().values()) * judge
    return 3 * calibrate + _PROBED_CLOUDS * probed * decode + drafts * (leading + candidates) + linear + whole


def _seconds(work: Callable[[], object]) -> float:
    """Return the seconds that work takes where nothing else uses the machine."""
    began = time.thread_time()
    work()
    return time.thread_time() - began
