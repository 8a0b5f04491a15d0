"""A controller dies before or after each of its requests, or a reply is lost: the next step takes it to its end.

The requests are those of a clean run, which each slice of the points begins with: a point more there is visited, too.
"""

import pytest
from tests.simulation.enumeration import points
from tests.simulation.mariadb.flows import FLOWS, run

pytestmark = pytest.mark.anyio

SLICES = 2


@pytest.mark.parametrize("part", range(SLICES))
@pytest.mark.parametrize("flow", FLOWS)
async def test_every_point_of_a_flow(flow, part):
    every = points(await run(flow, None))
    assert len(every) > SLICES
    for point in every[part::SLICES]:
        await run(flow, point)
