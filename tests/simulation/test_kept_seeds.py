"""Seeds that once went wrong."""

import pytest
from tests.simulation.kept import KEPT
from tests.simulation.schedule import simulate


@pytest.mark.parametrize("seed", KEPT)
def test_a_seed_that_once_went_wrong(seed):
    simulate(seed)
