"""The judge of dials: 0 for a dial that does nothing, 1 for one that does what the words do, below 0 for harm."""

import pytest
import torch

from gnomon.bench.preference import recovery
from gnomon.dials import AddVector, Dial, Prefix


@pytest.fixture(scope="module")
def pairs(tiny_lm):
    from gnomon.contrast import Contrast

    suffixes = tuple(
        f"the {thing} is {colour} ." for thing in ("sky", "cat", "dog") for colour in ("red", "blue", "green")
    )
    # One template: then the persona's mean over templates is the persona itself.
    return Contrast("honest", "dishonest", templates=("you are {} .",), suffixes=suffixes).resolve(tiny_lm)


def test_a_dial_that_does_nothing_recovers_nothing(tiny_lm, pairs) -> None:
    dial = Dial((AddVector(1, torch.zeros(tiny_lm.d_model)),)).bound(tiny_lm)
    assert recovery(tiny_lm, dial, pairs) == pytest.approx(0, abs=1e-5)


def test_the_words_themselves_recover_everything(tiny_lm, pairs) -> None:
    dial = Dial((Prefix(*pairs.personas[0]),)).bound(tiny_lm)
    assert recovery(tiny_lm, dial, pairs) == pytest.approx(1, abs=1e-4)


def test_a_dial_that_shouts_does_harm(tiny_lm, pairs) -> None:
    draw = torch.Generator().manual_seed(0)
    dial = Dial((AddVector(1, 50 * torch.randn(tiny_lm.d_model, generator=draw)),)).bound(tiny_lm)
    assert recovery(tiny_lm, dial, pairs) < 0
