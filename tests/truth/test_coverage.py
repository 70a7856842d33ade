"""The interval of Steering F1 contains the true score as often as it says; `benchmarks/coverage.py` has all worlds."""

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from gnomon.bench.rows import Rows, counts
from gnomon.bench.score import score
from gnomon.bench.uncertainty import Drawn, steering_f1, unseen
from gnomon.stats import bootstrap

simulated = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coverage.py")))


@pytest.mark.parametrize("world", simulated.MIDDLE, ids=lambda world: world.name)
@pytest.mark.parametrize(("dilemmas", "simulations"), [(100, 1500), (400, 1000)])
def test_coverage_between_20_and_80(world, dilemmas, simulations) -> None:
    found = simulated.covered(world, dilemmas, simulations, resamples=1000)
    assert 19 < found.truth < 81
    assert 0.93 <= found.share.estimate <= 0.97


@pytest.mark.parametrize("world", simulated.NEAR_100, ids=lambda world: world.name)
def test_coverage_near_100(world) -> None:
    found = simulated.covered(world, 100, 1000, resamples=500)
    assert 97 < found.truth < 100
    assert found.share.estimate >= 0.90


def test_dials_that_do_not_differ_are_rarely_told_apart() -> None:
    world = simulated.MIDDLE[1]
    truth, share, significant = simulated.covered_difference(world, world, 100, 1000, resamples=500)
    assert truth == 0
    assert 0.93 <= share.estimate <= 0.97
    assert 0.03 <= significant <= 0.07


def test_what_is_simulated_is_what_is_reported() -> None:
    """The intervals of many data sets at once are those of `score` on each: the same seed, the same draws."""
    random = np.random.default_rng(0)
    sets = []
    for _ in range(3):
        base = random.normal(size=(60, 1)) + random.normal(size=(60, 2))
        moved = [base + side * (0.8 + 0.5 * random.normal(size=base.shape)) for side in (1, -1)]
        kept = np.array([1.0] * 20) * np.where(random.random((3, 20)) < 0.1, -1, 1)
        z = np.concatenate([np.stack([base, *moved]).reshape(3, -1), kept], axis=1)
        names = [*np.repeat([f"d{i:02}" for i in range(60)], 2), *(f"c{i:02}" for i in range(20))]
        sets.append(Rows.of([1] * 120 + [0] * 20, names, z))
    stacked = [np.stack(parts) for parts in zip(*(counts(rows) for rows in sets), strict=True)]
    drawn = bootstrap(stacked, steering_f1, seed=5)
    low, high = Drawn(drawn, unseen(*stacked), 0.95, 60).ends()
    for i, rows in enumerate(sets):
        alone = score(rows, seed=5).interval
        assert (low[i], high[i]) == pytest.approx((alone.low, alone.high))
