"""The judge of dials: 0 for one that does nothing, 1 for one that does what the words do, less for one that goes astray."""

import dataclasses

import pytest
import torch

from gnomon.bench.preference import recovery
from gnomon.contrast import read_pairs
from gnomon.dials import AddVector, Dial


@pytest.fixture(scope="module")
def states(tiny_lm, tiny_contrast):
    return read_pairs(tiny_lm, tiny_contrast.resolve(tiny_lm))


def dial_along(lm, states, direction: torch.Tensor) -> Dial:
    return Dial((AddVector(states.reading_block, direction),)).bound(lm)


def test_a_dial_that_does_nothing_recovers_nothing(tiny_lm, states) -> None:
    assert recovery(
        tiny_lm, dial_along(tiny_lm, states, torch.zeros(tiny_lm.d_model)), states
    ) == pytest.approx(0)


def test_where_every_pair_differs_alike_that_difference_recovers_everything(tiny_lm, states) -> None:
    gap = torch.randn(tiny_lm.d_model, generator=torch.Generator().manual_seed(3))
    alike = dataclasses.replace(states, toward=states.away + 2 * gap)
    block = alike.reading_block
    dial = Dial((AddVector(block, gap),)).bound(tiny_lm)
    assert recovery(tiny_lm, dial, alike) == pytest.approx(1, abs=1e-4)
    assert recovery(tiny_lm, 0.5 * dial, alike) == pytest.approx(0.75, abs=1e-4)  # half of the way: 1 - 1/4
    assert recovery(tiny_lm, -dial, alike) == pytest.approx(-3, abs=1e-3)


def test_the_mean_difference_is_preferred_to_a_random_direction(tiny_lm, states) -> None:
    gap = states.half_gap(states.reading_block)
    stray = torch.randn(len(gap), generator=torch.Generator().manual_seed(0))
    stray *= gap.norm() / stray.norm()
    right, wrong = (recovery(tiny_lm, dial_along(tiny_lm, states, one), states) for one in (gap, stray))
    assert right > 0 > wrong
