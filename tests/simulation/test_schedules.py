"""Random schedules of jobs and accidents: whatever happens, what must never be is not seen, and all comes to its end.

`make simulate SEEDS=1000-2000` tells more of them.
"""

import pytest
from tests.simulation.schedule import simulate

SEEDS = 300
CHUNK = 5


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_chunk_of_seeds(first):
    for seed in range(first, first + CHUNK):
        simulate(seed)
