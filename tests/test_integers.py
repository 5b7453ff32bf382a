"""Decoding in integers: every decoder gives the same bytes, or every one refuses."""

import decimal
import os
import re
import subprocess
import sys
import zlib
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import pcqaad
from pcqaad.bitstream.sections import to_sections
from pcqaad.decoder import exact
from pcqaad.decoder.architecture import Architecture
from pcqaad.decoder.components import Components
from pcqaad.decoder.coordinates import Denormalisation
from pcqaad.decoder.integer_model import LARGEST_LATENT, LARGEST_SCALE, POINT_SCALE, IntegerModel, latent_reach
from pcqaad.decoder.matrices import selu_table
from pcqaad.decoder.step_sizes import CODES, StepSize, round_shift, step_size_values
from pcqaad.decoder.weight_scales import LEVELS, WeightScales
from pcqaad.formats.coding.fields import Cells
from pcqaad.formats.container.container import pack
from pcqaad.points.collect import Normalisation
from tests import reference

SPEC = (Path(__file__).resolve().parents[1] / "formats" / "SPEC.md").read_text()


# Step sizes.


def test_every_code_is_a_step_and_every_step_a_code():
    steps = [StepSize.of(code) for code in range(CODES)]
    assert [step.code for step in steps] == list(range(CODES))
    assert [StepSize.nearest(step.value) for step in steps] == steps
    numbers = [step.value for step in steps]
    assert numbers == sorted(set(numbers))


@given(st.floats(2.0**-61, 2.0**66))
def test_the_nearest_step_is_the_nearest(value):
    step = StepSize.nearest(value)
    others = [StepSize.of(code) for code in (step.code - 1, step.code + 1) if 0 <= code < CODES]
    away = abs(Fraction(step.value) - Fraction(value))
    assert all(away <= abs(Fraction(other.value) - Fraction(value)) for other in others)
    assert away <= Fraction(value) / 17 + Fraction(2) ** -70


@given(st.integers(-(2**70), 2**70), st.integers(-100, 20))
def test_shifts_round_halves_upwards(value, shift):
    exact = Fraction(value) * Fraction(2) ** shift + Fraction(1, 2)
    assert round_shift(value, shift) == exact.__floor__()


# The activation function.


def test_no_activation_is_near_a_tie_and_all_are_right():
    """In 40 digits: how far any number to be rounded is from a half, as the specification states it."""
    with decimal.localcontext(decimal.Context(prec=40)):
        scale, alpha = decimal.Decimal("1.0507009873554805"), decimal.Decimal("1.6732632423543772")
        half, floor = decimal.Decimal("0.5"), decimal.ROUND_FLOOR
        nearest = decimal.Decimal(1)

        def rounded(value):
            nonlocal nearest
            up = value + half
            below = up.to_integral_value(floor)
            nearest = min(nearest, up - below, below + 1 - up)
            return int(below)

        positive = [rounded(scale * z) for z in range(1, 2**15)]
        for f in range(LARGEST_SCALE + 1):
            step, power = (decimal.Decimal(-1) / 2**f).exp(), decimal.Decimal(1)
            negative = []
            for z in range(1, 2**15 + 1):
                power *= step
                if z > 30 * 2**f:  # e**-30 moves it by 1e-9 at most, and so do all that follow
                    negative += [negative[-1]] * (2**15 + 1 - z)
                    break
                negative.append(rounded(2**f * scale * alpha * (power - 1)))
            assert selu_table(f).tolist() == [*negative[::-1], 0, *positive]
    assert 4.4e-6 < nearest < 5e-6


def test_the_specification_states_the_checksums_of_the_tables():
    stated = dict(re.findall(r"\| (\d+) \| `([0-9A-F]{8})` (?=\|)", SPEC))
    assert {int(f): int(crc, 16) for f, crc in stated.items()} == {
        f: zlib.crc32(selu_table(f).astype("<i4").tobytes()) for f in range(LARGEST_SCALE + 1)
    }
    assert max(selu_table(f).max() for f in range(LARGEST_SCALE + 1)) == 34428
    assert min(selu_table(f).min() for f in range(LARGEST_SCALE + 1)) > -34428


# Decoders.


@st.composite
def models(draw, extreme=False):
    """A model of random integers, latents (N, L) and a denormalisation; with `extreme` of any size."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    patches = draw(st.integers(1, 4))
    architecture = Architecture(
        clouds=draw(st.integers(2, 3)),
        points=draw(st.integers(patches, 20)),
        latent=draw(st.integers(1, 4)),
        shared=tuple(draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))),
        patch=draw(st.integers(1, 5)),
        patches=patches,
        residual=draw(st.booleans()),
    )
    if draw(st.booleans()):
        architecture = replace(architecture, components=draw(st.integers(1, architecture.latent)))
    low, high = (-20, 20) if extreme else (-9, -5)

    def step():
        return StepSize(int(rng.integers(8, 16)), int(rng.integers(low, high)))

    def symbols(size, bits):
        most = 2 ** (int(rng.integers(1, 29)) if extreme else bits)
        return rng.integers(-most, most, size, dtype=np.int32)

    bits = draw(st.integers(1, 6))
    weights = {name: symbols(size, 6) for name, size in architecture.tensors().items()}
    if extreme:
        weights["latent"] //= 2**14
    grid = rng.integers(0, 2**bits, (architecture.points, 3), dtype=np.int32)
    components = None
    if architecture.components:
        size = architecture.points, architecture.components, 3
        exponents = (-20, 1) if extreme else (-14, -8)
        of_each = [StepSize(int(rng.integers(8, 16)), int(rng.integers(*exponents))) for _ in range(size[1])]
        spread = rng.choice([0.3, 30, 2000 if extreme else 5])
        fields = rng.laplace(0, spread, size) * step_size_values(of_each)[:, None]
        components = Components.encode(fields, of_each, Cells(grid, bits))
    model = IntegerModel(
        architecture,
        bits,
        tuple(map(int, symbols(3, 6))),
        step(),
        grid,
        {name: step() for name in architecture.tensors()},
        WeightScales.of_codes(
            architecture, rng.integers(0, len(LEVELS), sum(WeightScales.count(architecture)), dtype=np.int32)
        ),
        weights,
        tuple(step() for _ in range(architecture.latent)),
        tuple(map(int, rng.integers(0 if extreme else 7, LARGEST_SCALE + 1, len(architecture.shared) + 1))),
        components,
    )
    denormalisation = Denormalisation(
        tuple(map(int, rng.integers(-(2**52), 2**52, 3))), float(np.float32(rng.uniform(1e-9, 1e-3)))
    )
    return model, symbols((architecture.clouds, architecture.latent), 9), denormalisation


def file_of(model, latents, denormalisation):
    names = [str(i) for i in range(len(latents))]
    return pack(to_sections(model, latents, denormalisation, names, {}))


@settings(max_examples=20)
@given(models())
def test_all_decoders_give_the_same_bytes(drawn):
    data = file_of(*drawn)
    expected = reference.decode_file(data)
    with pcqaad.Collection(data) as c:
        c.check()
        assert np.stack(list(c)).tobytes() == expected.tobytes()
        assert c.decoder()(c.latents).numpy().tobytes() == expected.tobytes()
        for i, latent in enumerate(c.latents):
            assert c.decode(latent).tobytes() == expected[i].tobytes()


@settings(max_examples=20)
@given(models(extreme=True))
def test_numbers_of_any_size_are_decoded_alike_or_refused_by_all(drawn):
    data = file_of(*drawn)
    try:
        expected = reference.decode_file(data)
    except AssertionError:
        with pytest.raises(pcqaad.FormatError, match=r"(WGTS|LATS|COMP): .*expected"):
            pcqaad.Collection(data).check()
        return
    with pcqaad.Collection(data) as c:
        assert np.stack(list(c)).tobytes() == expected.tobytes()
        assert c.decoder()(c.latents).numpy().tobytes() == expected.tobytes()


def test_neither_blocks_nor_threads_nor_companions_change_a_byte(fitted_file, monkeypatch):
    with pcqaad.open(fitted_file) as c:
        expected = [cloud.tobytes() for cloud in c]
        for points in (1, 7, 1000):
            monkeypatch.setattr(exact, "_BLOCK", points)
            assert [cloud.tobytes() for cloud in c] == expected
        decoder, threads = c.decoder(), torch.get_num_threads()
        try:
            for number in (1, 2):
                torch.set_num_threads(number)
                assert [decoder(latent[None])[0].numpy().tobytes() for latent in c.latents] == expected
                assert [cloud.numpy().tobytes() for cloud in decoder(torch.from_numpy(c.latents))] == expected
        finally:
            torch.set_num_threads(threads)
    script = (
        f"import pcqaad, sys; sys.stdout.buffer.write(b''.join(x.tobytes() for x in pcqaad.open({str(fitted_file)!r})))"
    )
    for number in ("1", "2"):
        limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), number)
        done = subprocess.run(
            [sys.executable, "-c", script], env={**os.environ, **limits}, capture_output=True, check=True
        )
        assert done.stdout == b"".join(expected)


def test_latents_between_the_file_s_own(fitted_file):
    with pcqaad.open(fitted_file) as c:
        steps = np.array([step.value for step in c.integers.latent_step_sizes])
        latent = c.latents.mean(0)
        assert not np.array_equal(c.decode(latent), c.decode(latent + steps))
        assert np.array_equal(c.decode(latent), c.decoder()(latent[None]).numpy()[0])
        for bad in (np.full_like(latent, np.nan), np.full_like(latent, 1e300, np.float64), latent[:-1], latent[None]):
            with pytest.raises(ValueError, match="expected latents"):
                c.decode(bad)


@settings(max_examples=20)
@given(models(), st.integers(0, 2**31 - 1))
def test_latents_that_are_too_large_are_refused(drawn, symbol):
    model, latents, denormalisation = drawn
    latents[-1, 0] = symbol
    reach = latent_reach(latents, model.latent_step_sizes)
    assert list(reach) == [
        sum(abs(Fraction(int(l)) * Fraction(s.value)) for l, s in zip(row, model.latent_step_sizes, strict=True))
        / Fraction(2) ** min(s.exponent for s in model.latent_step_sizes)
        for row in latents
    ]
    c = pcqaad.Collection(file_of(model, latents, denormalisation))
    if max(reach) < LARGEST_LATENT:
        c.check()
    else:
        with pytest.raises(pcqaad.FormatError, match="LATS: group 0: expected latents below"):
            c.check()


# Coordinates.


@given(
    st.integers(-(2**52), 2**52),
    st.integers(-(2**52), 2**52),
    st.integers(2**23, 2**24),
    st.integers(-400, 104),
)
def test_a_coordinate_is_the_product_rounded_twice(centre, decoded, mantissa, exponent):
    unit = float(np.ldexp(float(mantissa), exponent))
    assume(2.0**-400 <= unit <= 2.0**128)
    (point,) = Denormalisation((centre,) * 3, unit).points(np.full((1, 3), decoded))
    # float() of a fraction is rounded correctly.
    once = float(Fraction(centre + decoded) * Fraction(unit))
    largest = float(np.finfo(np.float32).max)
    assert np.isfinite(point).all()
    assert point[0] == np.float32(min(max(once, -largest), largest))


@given(st.lists(st.floats(-1, 1), min_size=3, max_size=3), st.floats(-40, 37), st.floats(-30, 12))
def test_a_denormalisation_undoes_the_normalisation(direction, size, distance):
    """Clouds of any size, up to 10**12 times it away: to what float32 can tell apart."""
    scale = 10.0**size
    centre = np.array(direction) * scale * 10.0**distance
    assume(np.abs(centre).max() < 1e38)
    normalisation, denormalisation = Normalisation(centre, scale), Denormalisation.of(centre, scale)
    normalised = np.random.default_rng(0).uniform(-2, 2, (50, 3))
    expected = normalised * scale + centre
    assume(np.abs(expected).max() < 3e38)
    points = denormalisation.points(np.rint(normalised * 2.0**POINT_SCALE).astype(np.int64))
    allowed = 2.0**-POINT_SCALE * scale + 2.0**-23 * np.abs(expected).max() + 2.0**-149
    assert np.abs(points - expected).max() <= allowed
    assert max(map(abs, denormalisation.centre)) <= 2**52
    again = np.array(denormalisation.centre_and_scale[0])
    assert np.abs(again - normalisation.centre).max() <= denormalisation.unit
    assert denormalisation.centre_and_scale[1] >= scale * (1 - 2.0**-24)
