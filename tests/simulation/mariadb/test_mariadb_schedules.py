"""Random schedules of jobs and accidents: whatever happens, what must never be is not seen, and all comes to its end.

`make simulate ENGINE=mariadb SEEDS=40-199` tells more of them, as `.ci/run` does.
"""

import pytest
from tests.simulation.mariadb.kept import KEPT
from tests.simulation.mariadb.schedule import simulate

SEEDS = 40
CHUNK = 5


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_a_chunk_of_seeds(first):
    for seed in range(first, first + CHUNK):
        simulate(seed)


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_went_wrong(seed):
    simulate(seed)
