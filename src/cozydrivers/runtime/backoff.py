"""How long to wait before trying again."""

from collections.abc import Callable

RandomSource = Callable[[], float]
"""Gives numbers from 0 to 1, such as `random.random`."""

_DOUBLINGS = 32


def backoff(failures: int, first: float, cap: float, random: RandomSource) -> float:
    """Seconds to wait after so many failures in a row: doubled each time up to `cap`, less up to a half at random."""
    longest = min(cap, first * 2.0 ** min(failures - 1, _DOUBLINGS))
    return longest * (1 - random() / 2)
