"""The tables of docs/experiments.md: a method against every other one, over all seeds, paired by dilemma.

    gnomon bench --model touchstone:honesty --methods all --seeds 0,1,2,3,4,5,6,7,8,9 --name ten-honesty
    python benchmarks/against.py shift runs/ten-honesty [RUN ...]

Several runs on the same model, seeds and questions may hold different methods. Differences are Holm-corrected by strength.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from gnomon.bench import Rows
from gnomon.bench.comparing import ROWS
from gnomon.bench.score import difference, over_seeds
from gnomon.runs import Run
from gnomon.stats import holm


def rows_of(runs: list[Run]) -> dict[tuple[str, str], list[Rows]]:
    """(strength, method) -> the answers of every seed."""
    found: dict[tuple[str, str], list[Rows]] = {}
    for run in runs:
        for seed in run.config["seeds"]:
            frame = run.load_cell(f"{ROWS}/0/{seed}")
            for key, part in frame.groupby(["strength", "method"], sort=False):
                found.setdefault(key, []).append(answers(part))
    return found


def answers(part: pd.DataFrame) -> Rows:
    log_odds, mass = (
        [part[f"{name}_{i}"].to_numpy() for i in range(3)] for name in ("log_odds", "choice_mass")
    )
    return Rows.of(part.label.to_numpy(), part.cluster.to_numpy(dtype=str), log_odds, mass)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("method")
    parser.add_argument("runs", nargs="+")
    given = parser.parse_args()
    rows = rows_of([Run.open(path) for path in given.runs])
    for strength in dict.fromkeys(key[0] for key in rows):
        own = rows[strength, given.method]
        lines = [method for key, method in rows if key == strength]
        paired = {
            method: difference(own, rows[strength, method]) for method in lines if method != given.method
        }
        corrected = dict(zip(paired, holm([one.p for one in paired.values()]), strict=True))
        print(f"\n### {strength}\n")
        print(
            f"| | Steering F1 | ± seeds | +1 | −1 | {given.method} minus it | p |\n|---|---|---|---|---|---|---|"
        )
        for method in lines:
            seeds = over_seeds(rows[strength, method])
            sides = [np.mean([getattr(one, side).f1 for one in seeds.scores]) for side in ("toward", "away")]
            other = (
                ["", ""]
                if method == given.method
                else [str(paired[method].interval), f"{corrected[method]:.4f}"]
            )
            values = [
                str(seeds.interval),
                f"{seeds.deviation:.1f}",
                *(f"{side:.0f}" for side in sides),
                *other,
            ]
            print(f"| {method} | {' | '.join(values)} |")


if __name__ == "__main__":
    main()
