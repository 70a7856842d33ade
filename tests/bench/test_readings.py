"""What stands under a table of the bench."""

from __future__ import annotations

import pytest
import torch

from gnomon.bench.measure import Strength
from gnomon.bench.readings import Scored, caveats
from gnomon.bench.rows import Rows
from gnomon.bench.score import over_seeds
from gnomon.dials import AddVector, Dial, Scale


def line(method: str, *reached: bool) -> Scored:
    """A line of one row that nothing moves, with a dial per seed."""
    rows = Rows.of(label=[1], cluster=["a"], log_odds=[[1.0], [1.0], [1.0]])
    edits = (AddVector(0, torch.ones(4)),)
    dials = [Dial(edits, scale=Scale("matched", 64.0, reached=one)) for one in reached]
    strengths = tuple(Strength("matched", dial, 0.1, None) for dial in dials)
    return Scored(method, strengths, (rows,), over_seeds([rows], unit="dilemmas", resamples=100))


def test_lines_that_are_no_comparison_are_named_under_the_table() -> None:
    there, none, half = line("pca", True), line("none"), line("road", True, False)
    assert caveats("matched", [none, there]) == ()
    (reach,) = caveats("kl", [none, there, half])
    assert reach.startswith("Not reached within 64 times the native scale: road. ")


@pytest.mark.parametrize(("key", "told"), [("matched", 1), ("kl", 1), ("native", 0)])
def test_a_ceiling_is_called_one_where_it_is_not_at_the_strength_that_it_was_trained_at(
    key: str, told: int
) -> None:
    notes = caveats(key, [line("supervised (labels)", True)])
    assert len(notes) == told
    assert all("no fair competitor" in note for note in notes)
