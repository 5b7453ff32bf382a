"""SIMD kernels for numba: the auction's innermost loops, over 32 columns at a time.

Numba does not vectorise searches for a minimum. These few are written as LLVM's vector instructions, which LLVM
translates for the processor at hand. Multiplication and addition stay apart (no fused rounding), and square roots
round correctly: every machine gets the same bits.

Two kinds of block, 32 children side by side, in arrays (blocks, rows, 32):

- leaves: points, with the rows x, y, z, price;
- boxes: leaves or boxes, with the rows low x, y, z, high x, y, z, least price.

A bid asks for the two columns of least value, cost + price. While leaves are scanned, `keys` (2, 32) and `places`
(2, 32) hold these two for each SIMD lane; `two_least` merges the lanes at the end.
"""

from __future__ import annotations

from typing import Any

import llvmlite.ir as ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

LANES = 32
LANE_BITS = 5
# Coordinate and price of padding, above any cost + price: cells have a side of 1, and prices follow the costs.
FAR = 1e30
# The row of a block that holds prices.
LEAF_PRICE = 3
BOX_PRICE = 6

_BIT = ir.IntType(1)
_I32 = ir.IntType(32)
_I64 = ir.IntType(64)
_PLACES = ir.VectorType(_I32, LANES)
_LANE = ir.Constant(_PLACES, list(range(LANES)))
_ZERO = ir.Constant(_I32, 0)


@intrinsic
def children_below(_: Any, boxes: Any, block: Any, query: Any, power: Any, most: Any) -> Any:
    """Return as bits the children of a block of boxes that may hold a column of value <= most.

    The distance to a box is rounded as one to a point is, and rounding keeps order: no column is missed.
    """

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        rows = _vectors(context, b, sig.args[0], args[0], args[1])
        zero = _constant(rows.type.pointee, 0.0)
        moves = []
        for axis in range(3):
            at = _splat(b, b.extract_value(args[2], axis))
            under, over = b.fsub(_load(b, rows, axis), at), b.fsub(at, _load(b, rows, 3 + axis))
            moves.append(_larger(b, _larger(b, under, over), zero))
        value = b.fadd(_cost(b, moves, args[3]), _load(b, rows, BOX_PRICE))
        found = b.fcmp_ordered("<=", value, _splat(b, args[4]))
        return b.zext(b.bitcast(found, ir.IntType(LANES)), _I64)

    return types.int64(boxes, types.int64, query, types.int64, boxes.dtype), codegen


@intrinsic
def scan_leaves(_: Any, leaves: Any, first: Any, chosen: Any, query: Any, power: Any, keys: Any, places: Any) -> Any:
    """Enter the points of the leaves `first` + each bit of `chosen` into the lanes' two least."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        leaves, first, chosen, query, power = args[:5]
        kept = [(_vectors(context, b, sig.args[k], args[k]), row) for k in (5, 6) for row in (0, 1)]
        # Stack slots, which LLVM keeps in registers through the loop.
        slots = [cgutils.alloca_once_value(b, _load(b, p, row)) for p, row in kept]
        left = cgutils.alloca_once_value(b, chosen)
        at = [_splat(b, b.extract_value(query, axis)) for axis in range(3)]
        loop, body, end = (b.append_basic_block(name) for name in ("leaves", "leaf", "scanned"))
        b.branch(loop)
        b.position_at_end(loop)
        bits = b.load(left)
        b.cbranch(b.icmp_unsigned("!=", bits, _I64(0)), body, end)
        b.position_at_end(body)
        leaf = b.add(first, b.cttz(bits, _BIT(1)))
        b.store(b.and_(bits, b.sub(bits, _I64(1))), left)
        rows = _vectors(context, b, sig.args[0], leaves, leaf)
        cost = _cost(b, [b.fsub(_load(b, rows, axis), at[axis]) for axis in range(3)], power)
        value = b.fadd(cost, _load(b, rows, LEAF_PRICE))
        place = b.add(_splat(b, b.mul(b.trunc(leaf, _I32), _I32(LANES))), _LANE)
        new = _entered(b, [b.load(slot) for slot in slots], value, place)
        for slot, vector in zip(slots, new, strict=True):
            b.store(vector, slot)
        b.branch(loop)
        b.position_at_end(end)
        for slot, (p, row) in zip(slots, kept, strict=True):
            b.store(b.load(slot), b.gep(p, [_I32(row)]), align=4)
        return context.get_dummy_value()

    return types.void(leaves, types.int64, types.int64, query, types.int64, keys, places), codegen


@intrinsic
def two_least(_: Any, keys: Any, places: Any) -> Any:
    """Return (least, second least, place of the least, place of the second); the lanes start afresh."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        k, p = (_vectors(context, b, kind, array) for kind, array in zip(sig.args, args, strict=True))
        state = [_load(b, k, 0), _load(b, k, 1), _load(b, p, 0), _load(b, p, 1)]
        for row in (0, 1):
            b.store(_constant(k.type.pointee, FAR), b.gep(k, [_I32(row)]), align=4)
        while state[0].type.count > 1:
            (a, c), (a2, c2), (i, j), (i2, j2) = (_halves(b, vector) for vector in state)
            lower = b.fcmp_ordered("<", c2, a2)
            second, second_at = b.select(lower, c2, a2), b.select(lower, j2, i2)
            state = _entered(b, [a, second, i, second_at], c, j)
        least, second, at, second_at = (b.extract_element(vector, _ZERO) for vector in state)
        found = (least, second, b.sext(at, _I64), b.sext(second_at, _I64))
        return context.make_tuple(b, sig.return_type, found)

    found = types.Tuple((keys.dtype, keys.dtype, types.int64, types.int64))
    return found(keys, places), codegen


@intrinsic
def least_price(_: Any, blocks: Any, block: Any, row: Any) -> Any:
    """Return the least of the prices in a row of a block."""

    def codegen(context: Any, b: Any, sig: Any, args: Any) -> Any:
        rows = _vectors(context, b, sig.args[0], args[0], args[1])
        prices = b.load(b.gep(rows, [args[2]]), align=4)
        while prices.type.count > 1:
            x, y = _halves(b, prices)
            prices = b.select(b.fcmp_ordered("<", x, y), x, y)
        return b.extract_element(prices, _ZERO)

    return blocks.dtype(blocks, types.int64, types.int64), codegen


@intrinsic
def lowest_bit(_: Any, bits: Any) -> Any:
    """Return the number of the lowest bit set; there must be one."""
    return types.int64(types.int64), lambda _context, b, _sig, args: b.cttz(args[0], _BIT(1))


def _entered(b: Any, state: Any, value: Any, place: Any) -> list[Any]:
    """Return the two least of vectors, and their places, with one more value among them."""
    least, second, least_at, second_at = state
    wins = b.fcmp_ordered("<", value, least)
    # The loser to the least is compared with the second.
    loser, loser_at = b.select(wins, least, value), b.select(wins, least_at, place)
    follows = b.fcmp_ordered("<", loser, second)
    keys = [b.select(wins, value, least), b.select(follows, loser, second)]
    return [*keys, b.select(wins, place, least_at), b.select(follows, loser_at, second_at)]


def _vectors(context: Any, b: Any, array_type: Any, value: Any, block: Any = None) -> Any:
    """Return a pointer to the rows of a block, or of an array (rows, 32), as vectors."""
    array = make_array(array_type)(context, b, value)
    vector = ir.VectorType(context.get_data_type(array_type.dtype), LANES)
    start = b.bitcast(array.data, vector.as_pointer())
    if array_type.ndim == 2:
        return start
    rows = cgutils.unpack_tuple(b, array.shape, array_type.ndim)[1]
    return b.gep(start, [b.mul(block, rows)])


def _load(b: Any, rows: Any, row: int) -> Any:
    # Numpy aligns to numbers, not to vectors.
    return b.load(b.gep(rows, [_I32(row)]), align=4)


def _cost(b: Any, moves: Any, power: Any) -> Any:
    """Return the squared lengths of vectors of moves along x, y, z; their roots where power is 1."""
    x, y, z = (b.fmul(move, move) for move in moves)
    squared = b.fadd(b.fadd(x, y), z)
    cost = cgutils.alloca_once_value(b, squared)
    with b.if_then(b.icmp_signed("==", power, _I64(1))):
        bits = 32 if isinstance(squared.type.element, ir.FloatType) else 64
        function = ir.FunctionType(squared.type, [squared.type])
        root = cgutils.get_or_insert_function(b.module, function, f"llvm.sqrt.v{LANES}f{bits}")
        b.store(b.call(root, [squared]), cost)
    return b.load(cost)


def _larger(b: Any, x: Any, y: Any) -> Any:
    return b.select(b.fcmp_ordered("<", x, y), y, x)


def _constant(vector: Any, number: float) -> Any:
    return ir.Constant(vector, [ir.Constant(vector.element, number)] * LANES)


def _splat(b: Any, number: Any) -> Any:
    none = ir.Constant(ir.VectorType(number.type, LANES), ir.Undefined)
    return b.shuffle_vector(b.insert_element(none, number, _ZERO), none, ir.Constant(_PLACES, [0] * LANES))


def _halves(b: Any, vector: Any) -> Any:
    half = vector.type.count // 2
    none = ir.Constant(vector.type, ir.Undefined)
    lanes = [ir.Constant(ir.VectorType(_I32, half), list(range(start, start + half))) for start in (0, half)]
    return tuple(b.shuffle_vector(vector, none, part) for part in lanes)
