"""What the auctions on the CPU and on a GPU share: how eps falls, when they give up, what rounding takes from a proof.

The records are named tuples because numba compiles those into machine code; it knows no dataclasses.
"""

from __future__ import annotations

from typing import NamedTuple


class Schedule(NamedTuple):
    """How the auction runs: the quickest settings of those tried on cells of 1,024 points.

    Other clouds end after 25 to 100 bids a row. Where many points coincide, or the clouds have parts far from each
    other, the nearest column says nothing of what prices must rise to: a war of many small bids. The auction then
    begins again from a larger eps, which takes other clouds hardly longer.
    """

    first_eps: float = 3.0  # the smallest useful bid at first, in mean costs to the nearest column, for distances
    first_eps_squared: float = 10.0  # the same for squared distances
    warm_eps: float = 0.2  # eps starts no smaller than this part of the excess to be proven, from a given assignment
    shrink: float = 0.2  # eps of a phase, as a part of that of the phase before
    most_phases: int = 24  # after these the auction gives up
    first_bids: int = 100  # a row, on average, after which the first attempt gives up
    most_bids: int = 400  # the same for every later attempt, and for a phase on a GPU
    restart_eps: tuple[float, float] = (0.2, 1.0)  # eps of the later attempts, in sides of the cell's box
    share: float = 0.99  # part of the tolerance proven in the working type: float64 costs differ by less than the rest
    margin: float = 1e-9  # the part of a bound given up for the rounding of its conversion to the data's unit


class Rounding(NamedTuple):
    """What a number type takes from a proof, within a box of side 1."""

    distance: float  # error of a distance by the rounding of coordinates: twice sqrt(3) times that of one coordinate
    relative: float  # differences, squares, sums, root and price add at most 6 roundings, relative to the result
    smallest_eps: float  # a smaller bid would not raise every price


SCHEDULE = Schedule()
# A coordinate in [0, 1] is off by at most 2^-25 in float32, and in float64, of being brought into the box, by three
# roundings of 2^-53.
SINGLE = Rounding(distance=1.04e-7, relative=6 * 2.0**-24, smallest_eps=1e-9)
DOUBLE = Rounding(distance=1.2e-15, relative=6 * 2.0**-53, smallest_eps=1e-15)
# Error of a sum of n numbers in float64: n roundings of 2^-53, each relative to the sum of their sizes; doubled for
# the roundings of the numbers themselves.
SUM_ROUNDING = 2.0**-52
