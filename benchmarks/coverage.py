"""How often the interval of Steering F1 contains the true score: `python benchmarks/coverage.py`.

Answers are simulated in clusters of two correlated rows (a dilemma in both polarities), with 80 controls. The log-odds of
a row are normal, half of their variance shared within the dilemma; the dial shifts them by `shift` plus noise of its own;
some answers are destroyed, some controls change. The truth is the score of 600,000 dilemmas of the same world.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from gnomon.bench.uncertainty import Drawn, compared, steering_f1, unseen
from gnomon.stats import Interval, bootstrap, coverage

CONTROLS = 80
AT_ONCE = 200


@dataclass(frozen=True)
class World:
    """A dial in a world of dilemmas; shifts in units of the log-odds' standard deviation, the rest are rates."""

    name: str
    base: float = 0.0  # mean of the answers at alpha = 0, towards the first word
    shift: float = 4.0
    noise: float = 0.5  # of the shift
    destroyed: float = 0.0  # answers lost
    lost_dilemmas: float = 0.0  # dilemmas whose answers are lost on both sides
    wrong: float = 0.0  # rows that were right, flipped the wrong way
    stuck: float = 0.0  # rows that do not flip
    changed: float = 0.0  # controls

    def sample(
        self, rng: np.random.Generator, sets: int, dilemmas: int, controls: int = CONTROLS
    ) -> tuple[np.ndarray, np.ndarray]:
        """Counts per dilemma `[set, dilemma, 8]` and per control `[set, control, 3]`, as `gnomon.bench.rows.counts`."""
        return self.answers(rng, self.base + _shared(rng, sets, dilemmas), controls)

    def answers(
        self, rng: np.random.Generator, at_rest: np.ndarray, controls: int = CONTROLS
    ) -> tuple[np.ndarray, np.ndarray]:
        """The counts of a dial on given log-odds at alpha = 0, `[2, set, dilemma]`."""
        _, sets, dilemmas = at_rest.shape
        gone = rng.random((sets, dilemmas), dtype=np.float32) < self.lost_dilemmas
        counts = np.zeros((sets, dilemmas, 8))
        for at, side in enumerate((1, -1)):
            moved = at_rest + side * (self.shift + self.noise * _shared(rng, sets, dilemmas))
            luck = rng.random(at_rest.shape, dtype=np.float32)
            lost = gone | (luck < self.destroyed)
            can = side * at_rest < 0
            as_asked = (side * moved > 0) & (luck >= self.destroyed + np.where(can, self.stuck, self.wrong))
            for mark, rows in enumerate((can, can & as_asked & ~lost, can & lost, ~can & (~as_asked | lost))):
                counts[..., 4 * at + mark] = rows[0].astype(float) + rows[1]
        changed = rng.random((sets, controls, 3), dtype=np.float32) < (self.changed, self.changed, 2.0)
        return counts, changed.astype(float)

    def truth(self) -> float:
        """The score of the whole world."""
        targets, controls = self.sample(np.random.default_rng(1), 1, 600_000, 600_000)
        return float(steering_f1(targets.sum((0, 1)), controls.sum((0, 1))))


MIDDLE = (
    World("score near 20", shift=0.208, noise=0.25, destroyed=0.005, changed=0.02),
    World("score near 40", shift=0.519, noise=0.5, destroyed=0.01, changed=0.05),
    World("score near 60", base=0.3, shift=0.765, noise=0.4, destroyed=0.01, changed=0.05),
    World("score near 80", shift=1.116, noise=0.3, destroyed=0.005, changed=0.02),
)
NEAR_100 = (
    World("answers destroyed", destroyed=0.005),
    World("dilemmas lost", lost_dilemmas=0.005),
    World("wrong flips", wrong=0.01),
    World("rows that do not flip", stuck=0.02),
    World("controls changed", changed=0.01),
    World("a little of all", destroyed=0.001, wrong=0.002, stuck=0.003, changed=0.002),
)
BEYOND = (
    World("no effect, much noise", shift=0.0, noise=0.35, changed=0.02),
    World("weak dial", shift=0.1, noise=0.1, changed=0.005),
    World("harm", shift=0.3, noise=0.8, destroyed=0.1, changed=0.2),
    World("lopsided base", base=1.0, shift=1.2, noise=0.4, destroyed=0.005, changed=0.02),
)


PAIRS = (
    (MIDDLE[1], MIDDLE[1]),
    (MIDDLE[3], MIDDLE[3]),
    (MIDDLE[1], MIDDLE[0]),
    (NEAR_100[5], MIDDLE[3]),
    (NEAR_100[5], NEAR_100[0]),
)


def _shared(rng: np.random.Generator, sets: int, dilemmas: int) -> np.ndarray:
    """Standard normal `[2, set, dilemma]`, correlation 1/2 within a dilemma."""
    common, *own = rng.standard_normal((3, sets, dilemmas), dtype=np.float32) * np.float32(np.sqrt(0.5))
    return np.asarray(common + np.stack(own))


@dataclass(frozen=True)
class Covered:
    """The true score, the share of simulated 95 % intervals that contain it, the same for BCa alone, the mean width."""

    truth: float
    share: Interval
    bca_alone: Interval
    width: float


def covered(world: World, dilemmas: int, simulations: int, *, resamples: int = 2000) -> Covered:
    """Simulate samples of `dilemmas` and count."""
    truth = world.truth()
    rng = np.random.default_rng(2)
    reported, alone = [], []
    for block in range(simulations // AT_ONCE):
        counts = world.sample(rng, AT_ONCE, dilemmas)
        drawn = bootstrap(counts, steering_f1, resamples=resamples, seed=block)
        reported.append(Drawn(drawn, unseen(*counts), 0.95, dilemmas).ends())
        alone.append(drawn.bca.interval())
    low, high = (np.concatenate(end) for end in zip(*reported, strict=True))
    bca_low, bca_high = (np.concatenate(end) for end in zip(*alone, strict=True))
    return Covered(
        truth, coverage(low, high, truth), coverage(bca_low, bca_high, truth), float(np.mean(high - low))
    )


def covered_difference(
    first: World, second: World, dilemmas: int, simulations: int, *, resamples: int = 2000
) -> tuple[float, Interval, float]:
    """True difference of two dials on the same dilemmas, the share of intervals that contain it, the share of p < 0.05."""
    truth = first.truth() - second.truth()
    rng = np.random.default_rng(3)
    ends, significant = [], []
    for block in range(simulations // AT_ONCE):
        at_rest = first.base + _shared(rng, AT_ONCE, dilemmas)
        pair = []
        for world in (first, second):
            counts = world.answers(rng, at_rest)
            drawn = bootstrap(counts, steering_f1, resamples=resamples, seed=block)
            pair.append(Drawn(drawn, unseen(*counts), 0.95, dilemmas))
        both, one_sided = compared(pair[0], pair[1])
        ends.append(both)
        significant.append(2 * np.minimum(*one_sided) < 0.05)
    low, high = (np.concatenate(end) for end in zip(*ends, strict=True))
    return truth, coverage(low, high, truth), float(np.mean(significant))


def main(simulations: int = 4000) -> None:
    """Print the tables of docs/statistics.md."""
    print(
        "| true score | how it is lost | dilemmas | covered, % | its own interval | BCa alone, % | mean width |"
    )
    print("|---|---|---|---|---|---|---|")
    for world in (*MIDDLE, *NEAR_100, *BEYOND):
        for dilemmas in (100, 400):
            found = covered(world, dilemmas, simulations)
            cells = f"{found.truth:.1f} | {world.name} | {dilemmas} | {_percent(found.share)}"
            print(f"| {cells} | {100 * found.bca_alone.estimate:.1f} | {found.width:.1f} |", flush=True)
    print("\n| true difference | dials | dilemmas | covered, % | its own interval | p < 0.05, % |")
    print("|---|---|---|---|---|---|")
    for first, second in PAIRS:
        for dilemmas in (100, 400):
            truth, share, significant = covered_difference(first, second, dilemmas, simulations)
            names = f"{first.name}; {second.name}"
            print(
                f"| {truth:.1f} | {names} | {dilemmas} | {_percent(share)} | {100 * significant:.1f} |",
                flush=True,
            )


def _percent(share: Interval) -> str:
    return f"{100 * share.estimate:.1f} | {100 * share.low:.1f} to {100 * share.high:.1f}"


if __name__ == "__main__":
    main()
