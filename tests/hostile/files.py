"""The forged files, one rule broken in each; what refuses them is in refusals.txt, line for line."""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pcqaad.formats.coding.rans import RansEncoder, uniform_span
from pcqaad.formats.container.container import DEFLATE
from tests.hostile import attributes
from tests.hostile.containers import Row, deflated
from tests.hostile.small import (
    ONE,
    SECTIONS,
    STREAM,
    Field,
    added,
    bits,
    components,
    file,
    groups,
    head,
    lying,
    model,
    point_tables,
    second,
    table,
    weight_tensors,
    weights,
    without,
)
from tests.hostile.triangles import ALONE, FORGED, VERTICES, scripted, surface

_WELL = file()


@dataclass(frozen=True)
class Forgery:
    """A file that breaks `rule` (a key of RULES); the line of refusals.txt in its place refuses it."""

    rule: str
    data: bytes


def _container() -> Iterator[Forgery]:
    yield Forgery("1 magic", b"\x89PNG" + _WELL[4:])
    yield Forgery("1 magic", _WELL.replace(b"\r\n", b"\n", 1))
    yield Forgery("1 version", _WELL[:8] + b"\3" + _WELL[9:])
    yield Forgery("1 version", _WELL[:8] + b"\0" + _WELL[9:])
    yield Forgery("1 count", _WELL[:10] + b"\0\1" + _WELL[12:])
    yield Forgery("1 table within the file", _WELL[:15])
    yield Forgery("1 table within the file", _WELL[:134])
    yield Forgery("1 table checksum", _WELL[:12] + bytes(4) + _WELL[16:])
    yield Forgery("1 order", lying("HEAD", length=80, size=80))
    yield Forgery("1 tag", added(Row(b"1abc")))
    yield Forgery("1 tag", added(Row(b"no t")))
    yield Forgery("1 tag twice", added(Row(b"HEAD")))
    yield Forgery("1 tag twice", added(Row(b"xtra"), Row(b"xtra")))
    yield Forgery("1 coding", lying("NAME", coding=2))
    yield Forgery("1 length", lying("HEAD", length=2**32 - 1, size=2**32 - 1))
    yield Forgery("1 raw size", lying("NAME", size=2**32 - 1))
    yield Forgery("1 deflated size", lying("NAME", coding=DEFLATE, size=3097))
    yield Forgery("1 checksum", lying("WGTS", checksum=0))
    yield Forgery("1 checksum", lying("LATS", checksum=0))
    yield Forgery("1 checksum", lying("info", checksum=0))
    yield Forgery("1 end", _WELL + b"\0")
    yield Forgery("1 end", _WELL[:-1])
    names = deflated(SECTIONS["NAME"])
    for body, size in ((names, 2), (names, 4), (names[:-1], 3), (names + b"x", 3), (b"\xff\xff", 3)):
        yield Forgery("1 deflate stream", lying("NAME", coding=DEFLATE, body=body, size=size))
    yield Forgery("1 required", added(Row(b"XTRA")))


def _groups() -> Iterator[Forgery]:
    yield Forgery("1.1 count", file(LATS=groups(STREAM, count=2**32 - 1)))
    yield Forgery("1.1 table checksum", file(LATS=groups(STREAM, checksum=0)))
    yield Forgery("1.1 group checksum", file(LATS=groups(STREAM, spoilt=1)))
    yield Forgery("1.1 end", file(LATS=groups(STREAM) + b"\0"))
    yield Forgery("1.1 end", file(LATS=groups(STREAM)[:-1]))


def _bits() -> Iterator[Forgery]:
    yield Forgery("2 padding", file(LMOD=model(1)[:-1] + bytes([model(1)[-1] | 1])))
    yield Forgery("2 end", file(LMOD=model(0)[:-1]))
    yield Forgery("2 end", file(LMOD=b""))
    yield Forgery("2 gamma", file(LMOD=bytes(4) + b"\x40" + bytes(8)))


def _latent_model(*fields: Field, escape: int = 0) -> bytes:
    """The file with one context of the latents, of these fields; without them the fields up to the table."""
    return file(LMOD=bits(("gamma", 2), (6, escape), *fields))


def _tables() -> Iterator[Forgery]:
    one: tuple[Field, ...] = (("gamma", 2), ("signed", 0), (4, 0), (1, 0))
    yield Forgery("3 mantissa", _latent_model(*one, (3, 6), ("signed", 1)))
    yield Forgery("3 length", _latent_model(*one, (3, 0), ("signed", 17)))
    yield Forgery("3 length", _latent_model(*one, (3, 0), ("signed", -1)))
    yield Forgery("3 symbols", _latent_model(*one, (3, 0), ("signed", 0), ("gamma", 2)))
    yield Forgery("3 symbols", _latent_model(*one, (3, 0), ("signed", 0), ("gamma", 2**33 - 1)))
    many: list[Field] = [("signed", 1), *[("signed", 0)] * 4096]
    yield Forgery("3 used", _latent_model(("gamma", 4098), ("signed", 0), (4, 0), (1, 0), (3, 0), *many))
    bell: list[Field] = [("signed", 0), (4, 0), (1, 1), (3, 0)]
    yield Forgery("3 bell width", _latent_model(("gamma", 2), *bell, (8, 240)))
    for centre in (-2, 1):
        yield Forgery("3 bell centre", _latent_model(("gamma", 3), *bell, (8, 0), ("signed", centre)))
    yield Forgery("3 bell symbols", _latent_model(("gamma", 4098), *bell, (8, 0), ("signed", 0)))
    yield Forgery("3 bell symbols", _latent_model(("gamma", 4097), *bell, (8, 0), ("signed", 0), (5, 0), escape=1))
    yield Forgery("3 empty", file(TMPL=point_tables(1, (3, 0), ("signed", 0), ("gamma", 3)) + STREAM))


def _rans() -> Iterator[Forgery]:
    for rule, stream in (
        ("4 lanes", b""),
        ("4 lanes", b"\7" + STREAM[1:] * 128),
        ("4 states", b"\0" + (2**16 - 1).to_bytes(4, "little")),
        ("4 states", b"\1" + STREAM[1:] + bytes(4)),
        ("4 words", STREAM[:-1]),
        ("4 words", b"\6" + STREAM[1:]),
        ("4 words", STREAM + b"\0"),
        ("4 end", STREAM + b"\0\0"),
        ("4 end", b"\0" + (2**16 + 1).to_bytes(4, "little")),
    ):
        yield Forgery(rule, file(LATS=groups(stream)))
    yield Forgery("4 no word", _latent_model(*table(shift=14)))
    yield Forgery("4 no word", file(WGTS=bits(("gamma", 23), (6, 0), *table(shift=9) * 22) + STREAM))


def _escaped(number: int, width: int) -> bytes:
    """The file whose latents are `number` twice, both escaped from a table for 0."""
    coder = RansEncoder()
    zigzag = 2 * number if number >= 0 else -2 * number - 1
    for at in range(0, width, 14):
        size = 1 << min(14, width - at)
        coder.push(*uniform_span(np.full(2, zigzag >> at & size - 1), np.full(2, size)))
    fields: list[Field] = [("gamma", 2), (6, width), ("gamma", 2), ("signed", 0), (4, 0), (1, 0), *weights(1, 2)]
    return file(LMOD=bits(*fields), LATS=groups(coder.finish()))


def _arrays() -> Iterator[Forgery]:
    yield Forgery("5 contexts", file(LMOD=bits(("gamma", 258), (6, 0))))
    yield Forgery("5 contexts", file(WGTS=bits(("gamma", 2**33 - 1), (6, 0))))
    yield Forgery("5 escape", _latent_model(escape=34))
    yield Forgery("5 symbols", _latent_model(("gamma", 32770)))
    flat: list[Field] = [("gamma", 32769), ("signed", 0), (4, 0), (1, 0), *weights(0, 32768)]
    yield Forgery("5 all symbols", file(LMOD=bits(("gamma", 10), (6, 0), *flat * 8, ("gamma", 2))))
    yield Forgery("5 shift", _latent_model(("gamma", 2), ("signed", 0), (4, 15)))
    empty: list[Field] = [("gamma", 2), ("signed", 0), (4, 0), (1, 0), (3, 0), ("signed", 0), ("gamma", 1)]
    yield Forgery("5 empty table", _latent_model(*empty))
    for low in (2**31, -(2**31) - 1):
        yield Forgery("5 32 bits", file(LMOD=model(low)))
        yield Forgery("5 32 bits", file(WGTS=weight_tensors(t7=low)))
        yield Forgery("5 32 bits", _escaped(low, 33))
    yield Forgery("5 no table", file(LMOD=bits(("gamma", 1), (6, 0))))
    yield Forgery("5 no table", _latent_model(("gamma", 1)))
    yield Forgery("5 no table", file(WGTS=model(*[0] * 7) + STREAM))


def _points() -> Iterator[Forgery]:
    yield Forgery("6 tables", file(TMPL=bits(*[(1, 0)] * 13) + STREAM))
    yield Forgery("6 tables", file(TMPL=point_tables(2, *weights(0, 4)) + STREAM))
    # Of nine points the second of sixteen buckets holds no count.
    nine = point_tables(8, *weights(2, 18)) + STREAM
    yield Forgery("6 bucket", file(HEAD=head(points=18), TMPL=nine))
    # Of 80001 points a bucket holds 5000 counts; 4096 + 4095 is none of them.
    coder = RansEncoder()
    coder.push(*uniform_span(np.array([1]), np.array([2])))
    coder.push(*uniform_span(np.array([4095]), np.array([4096])))
    many = point_tables(8, *weights(1, 18)) + coder.finish()
    yield Forgery("6 count", file(HEAD=head(points=80001, patches=1), TMPL=many))


def _sections() -> Iterator[Forgery]:
    for tag in ("HEAD", "GAIN", "WGTS", "TMPL", "LMOD", "LATS", "NAME"):
        yield Forgery("7 sections", without(tag))
    for tag in ("HEAD", "GAIN", "WGTS", "TMPL", "LMOD", "LATS"):
        body = deflated(SECTIONS[tag])
        row = {"coding": DEFLATE, "body": body, "length": len(body), "size": len(SECTIONS[tag])}
        yield Forgery("7 coding", lying(tag, **row))
    body = components(0, ONE)
    yield Forgery("7 coding", added(Row(b"COMP", deflated(body), DEFLATE, size=len(body))))
    yield Forgery("7 coding", added(Row(b"SURF", deflated(surface()), DEFLATE, size=len(surface()))))


def _header() -> Iterator[Forgery]:
    for clouds in (0, 1, 2**24 + 1, 2**32 - 1):
        yield Forgery("7.1 clouds", file(HEAD=head(clouds=clouds)))
    for points in (0, 2**24 + 1, 2**32 - 1):
        yield Forgery("7.1 points", file(HEAD=head(points=points)))
    for patches in (0, 5, 65535):
        yield Forgery("7.1 patches", file(HEAD=head(patches=patches)))
    yield Forgery("7.1 latent", file(HEAD=head(latent=0)))
    yield Forgery("7.1 latent", file(HEAD=head(latent=5, clouds=2**24)))
    for width in (0, 2**14 + 1):
        yield Forgery("7.1 width", file(HEAD=head(width=width)))
        yield Forgery("7.1 widths", file(HEAD=head(widths=[width])))
        yield Forgery("7.1 widths", file(HEAD=head(layers=2, widths=[1, width])))
    for layers in (0, 17, 255):
        yield Forgery("7.1 layers", file(HEAD=head(layers=layers)))
    for flags in (4, 5, 128):
        yield Forgery("7.1 flags", file(HEAD=head(flags=flags)))
    for grid in (0, 17, 255):
        yield Forgery("7.1 grid", file(HEAD=head(bits=grid)))
    yield Forgery("7.1 zero", file(HEAD=head(zero=1)))
    for latent, contexts in ((1, 0), (1, 2), (3, 2), (257, 257)):
        yield Forgery("7.1 contexts", file(HEAD=head(latent=latent, contexts=contexts)))
    yield Forgery("7.1 contexts of a sequence", file(HEAD=head(latent=129, contexts=129, flags=2)))
    for far in (2**52 + 1, -(2**52) - 1, -(2**63)):
        yield Forgery("7.1 centre", file(HEAD=head(centre=(0, 0, far))))
    for unit in (0.0, -1.0, math.nan, math.inf, 2.0**-401, math.nextafter(2.0**128, math.inf), 1 + 2.0**-24):
        yield Forgery("7.1 unit", file(HEAD=head(unit=unit)))
    for code in (1024, 65535):
        yield Forgery("7.1 grid step", file(HEAD=head(step=code)))
        yield Forgery("7.1 weight steps", file(HEAD=head(steps=[*[ONE] * 7, code])))
        yield Forgery("7.1 latent steps", file(HEAD=head(latent_steps=[code])))
    for scales in ([15, 0], [0, 255]):
        yield Forgery("7.1 scales", file(HEAD=head(scales=scales)))
    for cut in (0, 65, 66, 68, len(head()) - 1):
        yield Forgery("7.1 end", file(HEAD=head()[:cut]))
    yield Forgery("7.1 end", file(HEAD=head() + b"\0"))


def _contents() -> Iterator[Forgery]:
    yield Forgery("7.2 numbers", file(HEAD=head(widths=[2**14], width=2**13)))
    largest = head(patches=65535, points=65535, width=2**14, layers=16, widths=[2**14] * 16)
    yield Forgery("7.2 numbers", file(HEAD=largest))
    yield Forgery("7.2 numbers to bytes", file(HEAD=head(widths=[2**10], width=2**10)))
    for code in (-1, 8):
        yield Forgery("7.2 codes", file(GAIN=model(code, 0) + STREAM))
        yield Forgery("7.2 codes", file(GAIN=model(0, code) + STREAM))
    yield Forgery("5 no table", file(GAIN=model(0) + STREAM))
    yield Forgery("5 no table", file(GAIN=model(7, 7) + STREAM))
    for symbol in (2**16, -(2**16), 2**31 - 1, -(2**31)):
        yield Forgery("7.2 latent part", file(WGTS=weight_tensors(t0=symbol)))
    yield Forgery("7.3 points to bytes", file(HEAD=head(points=2**24)))
    yield Forgery("7.3 points to bytes", file(HEAD=head(points=2**18 + 1024 * len(SECTIONS["TMPL"]) + 1)))
    yield Forgery("7.4 model", file(LMOD=model(0) + b"\0"))
    yield Forgery("7.4 groups", file(HEAD=head(clouds=2**24)))
    names = b"\0".join(b"%d" % i for i in range(65))
    yield Forgery("7.4 groups", file(HEAD=head(clouds=65), LATS=groups(STREAM + bytes(8)), NAME=names))
    yield Forgery("7.4 groups", file(LATS=groups(STREAM, b"")))
    # Two steps 2**30 apart: 64 of the larger one are 2**39 of the smaller one's unit.
    uneven = head(latent=2, latent_steps=[ONE, ONE + 8 * 30])
    yield Forgery("7.4 latents", file(HEAD=uneven, LMOD=model(64)))
    yield Forgery("7.4 latents", file(HEAD=head(latent=2, latent_steps=[0, 1023]), LMOD=model(1)))
    for far in (2**30, -(2**30) - 1):
        yield Forgery("7.4 sequence", file(HEAD=head(flags=2), LMOD=model(far, far)))


def _names() -> Iterator[Forgery]:
    yield Forgery("7.5 text", file(NAME=b"a\0\xff"))
    yield Forgery("7.5 text", file(NAME=b"a\0\xed\xa0\x80"))
    for names in (b"", b"a", b"a\0b\0", b"\0a\0b"):
        yield Forgery("7.5 number", file(NAME=names))
    yield Forgery("7.5 different", file(NAME=b"a\0a"))
    for name in ("", ".", "..", "/a", "a/", "../a", "C:", "a\\b", "\x1b[2J", "\x7f", "a\n"):
        yield Forgery("7.5 name", file(NAME=b"a\0" + name.encode()))
    for name in ("a//b", "a/../b", "a/.", "/"):
        yield Forgery("7.5 name", file(NAME=b"a\0" + name.encode()))
    for name in ("a" * 1025, "ä" * 513, "a/" * 512 + "a"):
        yield Forgery("7.5 long", file(NAME=b"a\0" + name.encode()))
    yield Forgery("7.5 size", file(NAME=b"a\0" + b"b" * 2048))
    bomb = deflated(bytes(10**6))
    row = {"coding": DEFLATE, "body": bomb, "length": len(bomb), "size": 10**6}
    yield Forgery("7.5 size", lying("NAME", **row))
    yield Forgery("7.5 size", second(NAME=b"\0\0" + b"a\0" + b"b" * 2048))
    for names in (b"", b"\0", b"\0\0", b"\0\0a", b"\0\0a\0b\0"):
        yield Forgery("7.5 number", second(NAME=names))
    yield Forgery("7.5 different", second(NAME=b"\0\1a\0"))
    yield Forgery("7.5 name", second(NAME=b"\0\1.\0."))
    yield Forgery("7.5 shared", second(NAME=b"\1\0a\0b"))
    yield Forgery("7.5 shared", second(NAME=b"\0\2a\0b"))
    # 255 bytes of the first name in each of 10,000.
    repeated = b"\0" + b"\xff" * 9999 + b"a" * 255 + bytes(9999)
    row = {"coding": DEFLATE, "body": deflated(repeated), "size": len(repeated)}
    many = {"HEAD": head(clouds=10_000), "LATS": groups(*[STREAM] * 157)}
    yield Forgery("7.5 together", second(Row(b"NAME", **row), **many))


def _info() -> Iterator[Forgery]:
    bomb = deflated(b"[" * (2**20 + 1))
    row = {"coding": DEFLATE, "body": bomb, "length": len(bomb), "size": 2**20 + 1}
    yield Forgery("7.6 bytes", lying("info", **row))
    for text in (b"", b"{", b"\xff", b"[" * 10**5, b'{"a":NaN}', b'{"a":-Infinity}', b"{}{}"):
        yield Forgery("7.6 JSON", file(info=text))
    for text in (b"[]", b"3", b"null"):
        yield Forgery("7.6 types", file(info=text))
    for depth in (8, 500):
        yield Forgery("7.6 depth", file(info=b'{"settings":' + b"[" * depth + b"]" * depth + b"}"))
    for number in (b"1e999", b"-1e999", b"9" * 400):
        yield Forgery("7.6 numbers", file(info=b'{"settings":{"a":' + number + b"}}"))
    yield Forgery("7.6 keys", file(info=b'{"settings":{"\\u001b[2J":1}}'))
    fidelity = {
        "metric": "emkd",
        "cell": 1,
        "measured": 2,
        "mean": 0.0,
        "mean_percent": 0,
        "worst": {"name": "a", "mean": 0},
    }
    per_vertex = {"mean": 0.0, "rms": 0.0, "p95": 0.0, "worst": 0.0, "mean_percent": 0.0}
    wrong = [
        {"unit": 3},
        {"settings": []},
        {"settings": {"seed": "x"}},
        *({"settings": {"surface": value}} for value in ("x", True, 0, 1.5)),
        *({"settings": {"registered": value}} for value in (1, "true", None)),
        {"encoder": "x"},
        {"fidelity": 1},
        *({"fidelity": {k: v for k, v in fidelity.items() if k != key}} for key in fidelity),
        *({"fidelity": fidelity | {key: []}} for key in (*fidelity, "rms", "mean_squared", "sum", "diagonal", "rise")),
        *({"fidelity": fidelity | {key: True}} for key in ("cell", "measured", "mean")),
        {"settings": {"seed": True}},
        *({"appended": value} for value in ("abc", {"a": 1}, [1], [{}], [fidelity], [fidelity | {"clouds": "z"}])),
        {"fidelity": fidelity | {"worst": {"name": 1, "mean": 0}}},
        {"fidelity": fidelity | {"worst": {"name": "a"}}},
        *({"fidelity": fidelity | {"per_vertex": value}} for value in (1, [], {}, per_vertex | {"p95": True})),
        *({"fidelity": fidelity | {"per_vertex": per_vertex | {key: "x"}}} for key in per_vertex),
        {"fidelity": fidelity | {"metric": "\x1b"}},
    ]
    for info in wrong:
        yield Forgery("7.6 types", file(info=json.dumps(info).encode()))


def _sums() -> Iterator[Forgery]:
    large = 2**31 - 1
    yield Forgery("7.8 layer 0", file(WGTS=weight_tensors(t1=large)))
    yield Forgery("7.8 layer 0", file(HEAD=head(origin=(0, 2**31 - 1, 0)), WGTS=weight_tensors(t1=999)))
    yield Forgery("7.8 layer 0", file(HEAD=head(scales=[14, 0]), WGTS=weight_tensors(t1=2**26)))
    yield Forgery("7.8 bias", file(WGTS=weight_tensors(t2=-large)))
    # Of 32 bits this one has no absolute value.
    for rule, tensor in (("layer 0", "t1"), ("bias", "t2"), ("output", "t6")):
        yield Forgery(f"7.8 {rule}", file(WGTS=weight_tensors(**{tensor: -(2**31)})))
    between = {"HEAD": head(layers=2, steps=[ONE, ONE, ONE, 1000, *[ONE] * 6])}
    yield Forgery("7.8 layers between", file(**between, WGTS=weight_tensors(2, t3=9)))
    feature = head(steps=[*[ONE] * 3, 800, *[ONE] * 4])
    yield Forgery("7.8 patch layer", file(HEAD=feature, WGTS=weight_tensors(t3=-1)))
    yield Forgery(
        "7.8 patch layer", file(HEAD=head(steps=[*[ONE] * 4, 800, *[ONE] * 3]), WGTS=weight_tensors(t4=large))
    )
    yield Forgery("7.8 bias", file(HEAD=head(steps=[*[ONE] * 5, 800, *[ONE] * 2]), WGTS=weight_tensors(t5=large)))
    yield Forgery("7.8 output", file(WGTS=weight_tensors(t6=large)))
    yield Forgery("7.8 bias", file(HEAD=head(steps=[*[ONE] * 7, 800]), WGTS=weight_tensors(t7=-1)))
    yield Forgery("7.8 output", file(HEAD=head(step=1023, flags=1)))
    for i in (1, 2):
        finest = [ONE] * 8
        finest[i] = 0
        yield Forgery("7.8 unit", file(HEAD=head(steps=finest)))


def _linear() -> Iterator[Forgery]:
    # Steps of 2**-37 make the displacements too large for the sum that they join.
    fine = {"HEAD": head(steps=[*[ONE] * 7, 192])}
    yield Forgery("7.8 components", file(**fine, COMP=components(255, ONE)))
    for count in (0, 2, 65535):
        yield Forgery("7.9 components", file(COMP=components(0, ONE, count=count)))
    for code in (520, 65535):
        yield Forgery("7.9 steps", file(COMP=components(0, code)))
    for cut in range(4):
        yield Forgery("7.9 end", file(COMP=components(0, ONE)[:cut]))
    yield Forgery("2 end", file(COMP=components(0, ONE)[:4]))
    yield Forgery("4 words", file(COMP=components(0, ONE)[:-1]))
    yield Forgery("5 no table", file(COMP=struct.pack("<HH", 1, ONE) + model(None) + STREAM))
    many = {"HEAD": head(latent=2, points=2**18), "COMP": components(0, ONE, ONE)}
    yield Forgery("7.9 points to bytes", file(**many))
    for low in (256, -256, 2**31 - 1):
        yield Forgery("7.9 reach", file(COMP=components(low, ONE)))
    yield Forgery("7.9 reach", file(HEAD=head(latent=2), COMP=components(128, ONE, ONE)))


def _surface() -> Iterator[Forgery]:
    for rule, answers, _ in FORGED.values():
        yield Forgery(rule, file(**VERTICES, SURF=surface(triangles=2, coded=scripted(answers))))
    two = {"HEAD": head(patches=1, points=2), "TMPL": point_tables(1, *weights(0, 3)) + STREAM}
    yield Forgery("6.2 points", file(**two, SURF=surface(coded=bytes(6))))
    coded = scripted(ALONE)
    for rule, stream in (
        ("4 words", coded[:3]),
        ("4 words", coded + b"\0"),
        ("4 states", bytes(4)),
        ("4 no word", coded[:-2]),
        ("4 end", coded + b"\0\0"),
        ("4 end", coded[:4] + bytes([coded[4] ^ 1]) + coded[5:]),
    ):
        yield Forgery(rule, file(**VERTICES, SURF=surface(coded=stream)))
    for points in (0, 2**18 + 4096 * len(coded) + 1, 2**32 - 1):
        yield Forgery("7.10 points", file(**VERTICES, SURF=surface(points)))
    yield Forgery("7.10 points", file(**VERTICES, SURF=surface(2**24 + 1, coded=bytes(2**12))))
    for triangles in (0, 2**15 + 1, 2**32 - 1):
        yield Forgery("7.10 triangles", file(**VERTICES, SURF=surface(triangles=triangles)))
    for cut in (0, 15, 16, len(surface()) - 1):
        yield Forgery("7.10 bytes", file(**VERTICES, SURF=surface()[:cut]))
    yield Forgery("7.10 bytes", file(**VERTICES, SURF=surface(more=2**32 - 1 - len(model(0) + STREAM))))
    yield Forgery("7.10 fewer triangles", file(**VERTICES, SURF=surface(triangles=2)))
    yield Forgery("7.10 fewer triangles", file(**VERTICES, SURF=surface(coded=b"")))
    yield Forgery("7.10 patches", file(SURF=surface()))
    yield Forgery("7.10 vertices", file(HEAD=head(patches=1, points=2**15 + 1), SURF=surface()))
    yield Forgery("7.10 counts", file(**VERTICES, SURF=surface(counts=model(-4) + STREAM)))
    for low in (-1, 1, 2**31 - 1):
        yield Forgery("7.10 sum", file(**VERTICES, SURF=surface(counts=model(low) + STREAM)))
    yield Forgery("2 end", file(**VERTICES, SURF=surface(counts=b"")))
    yield Forgery("5 no table", file(**VERTICES, SURF=surface(counts=model(None) + STREAM)))
    for low in (-3, -(2**31), 2**18 + 4096 * len(coded) - 2, 2**31 - 1):
        yield Forgery("7.10 numbers", file(**VERTICES, SURF=surface(sizes=model(low) + STREAM)))
    yield Forgery("7.10 one number", file(**VERTICES, SURF=surface(sizes=model(0) + STREAM)))
    yield Forgery("4 end", file(**VERTICES, SURF=surface(sizes=model(1) + STREAM + b"\0\0")))


FORGERIES = [
    *(forgery for make in (_container, _groups, _bits, _tables, _rans, _arrays, _points) for forgery in make()),
    *(
        forgery
        for make in (_sections, _header, _contents, _names, _info, _sums, _linear, _surface)
        for forgery in make()
    ),
    *(Forgery(rule, data) for rule, data in attributes.forged()),
]
