"""How long quantising and judging will take: a fit that minutes bound leaves them that much."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from pcqaad.decoder.architecture import Model
from pcqaad.decoder.float32 import FloatDecoder
from pcqaad.evaluation.metrics import emkd
from pcqaad.formats.coding.fields import round_fields
from pcqaad.parallel import cores
from pcqaad.quantisation.calibration import Calibration
from pcqaad.quantisation.evaluator import RECORDED_CLOUDS, Evaluator
from pcqaad.quantisation.principal import Plan
from pcqaad.quantisation.probe import PROBED_POINTS
from pcqaad.quantisation.step_sizes import template_step_size, to_grid

# How often each is done, as a rule: clouds decoded to probe, and candidates of the two kinds.
_PROBED_CLOUDS = 80
_LEADING = 8
_LEADING_CLOUDS = 8
_CANDIDATES = 5
_WHOLE = 4  # beside the one that the record repeats
# How often components are rounded, as a rule, where they may help a network or stand in for it, and clouds measured.
_ROUNDED_COMPONENTS = 80
_MEASURED_COMPONENTS = 6
# Decoding in integers beside decoding in floats, and error feedback beside its calibration.
_INTEGERS = 3.0
_FEEDBACK = 2.0
# At which a template is about as fine as files have it.
_LAMBDA = 1e-9


def seconds_to_encode(model: Model, evaluator: Evaluator, components: bool) -> float:
    """Estimate the seconds that `choice.encode` and the fidelity will take, from what a part takes now."""
    targets, points = evaluator.clouds.targets, model.architecture.points
    decoder = FloatDecoder(model)
    # The first call of each loads or compiles something.
    emkd(targets[0][:8], targets[1][:8], workers=1)
    decode = _seconds(lambda: decoder.decode(model.latents[0]))
    decoded = decoder.decode(model.latents[0])
    match = _seconds(lambda: emkd(targets[0], decoded, workers=1))
    calibrate = _seconds(lambda: Calibration(model))
    part, probed = len(evaluator.judged(model.architecture)) / points, min(PROBED_POINTS / points, 1)
    judge = (_INTEGERS * decode + match) / cores()
    leading = _LEADING * (_FEEDBACK * calibrate + _LEADING_CLOUDS * part * decode)
    candidates = _CANDIDATES * (_FEEDBACK * calibrate + len(evaluator.sample(evaluator.measured)) * part * judge)
    whole = _WHOLE * len(evaluator.confirmed()) + len(evaluator.sample(RECORDED_CLOUDS))
    linear = 0.0
    if components:
        fields = np.tile(model.template * 256, min(Plan().most, len(targets) - 1))
        grid, _, bits = to_grid(model.template, template_step_size(model.template, _LAMBDA))
        linear = _ROUNDED_COMPONENTS * _seconds(lambda: round_fields(fields, grid, bits), 1)
        linear += _MEASURED_COMPONENTS * len(evaluator.confirmed()) * match / cores()
        linear += 2 * min(Plan().clouds, len(targets)) * decode
    return linear + calibrate + _PROBED_CLOUDS * probed * decode + leading + candidates + whole * judge


def _seconds(work: Callable[[], object], repeated: int = 3) -> float:
    """Return the median of a few times: others may use the machine."""
    times = []
    for _ in range(repeated):
        began = time.monotonic()
        work()
        times.append(time.monotonic() - began)
    return sorted(times)[repeated // 2]
