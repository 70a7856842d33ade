"""Two runs side by side, paired on the questions that both asked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.bench.rows import Rows
from gnomon.bench.score import difference, score
from gnomon.errors import UsageError
from gnomon.runs import Column, Reading, Run, interval_text
from gnomon.stats import holm

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd

    from gnomon.bench.readings import Scored
    from gnomon.questions import Questions

ROWS = "scored_rows"
"""The cells, by the model's place and the seed, that keep the answers which a run's tables were made of."""


def scored_rows(questions: Questions, tables: Mapping[str, Sequence[Scored]], seed: int) -> pd.DataFrame:
    """The answers behind the tables for the seed at one place: one row per strength, method and question."""
    import pandas as pd

    frames = []
    for strength, lines in tables.items():
        for line in lines[1:]:  # the first is the model as it is, which all columns at 0 hold anyway
            if seed >= len(line.rows):
                continue
            rows = line.rows[seed]
            columns = {f"log_odds_{i}": rows.log_odds[i] for i in range(3)}
            columns |= {f"choice_mass_{i}": rows.choice_mass[i] for i in range(3)}
            known = {
                "prompt": [str(q.prompt) for q in questions],
                "label": rows.label,
                "cluster": rows.cluster,
            }
            frames.append(pd.DataFrame({"method": line.method, "strength": strength, **known, **columns}))
    return pd.concat(frames, ignore_index=True)


def compare(first: Run, second: Run, *, resamples: int = 2000) -> Reading:
    """Every method and strength that both runs have: first minus second, on the same questions, Holm-corrected.

    Raises `UsageError` where the runs did not ask the same questions, or have no method in common.
    """
    import pandas as pd

    a, b = (_rows(run) for run in (first, second))
    keys = ["model", "seed", "method", "strength"]
    there = set(b[keys].itertuples(index=False, name=None))
    common: list[tuple[Any, ...]] = [
        key for key in a[keys].drop_duplicates().itertuples(index=False, name=None) if key in there
    ]
    if not common:
        raise UsageError(
            f"{first.name} and {second.name} have no method and strength in common; nothing can be paired"
        )
    records, comparisons = [], []
    for key in common:
        one, two = (frame[(frame[keys] == key).all(axis=1)].reset_index(drop=True) for frame in (a, b))
        if list(one.prompt) != list(two.prompt):
            raise UsageError(
                f"{first.name} and {second.name} did not ask the same questions; compare runs with the same questions"
            )
        rows = [_arrays(frame) for frame in (one, two)]
        comparison = difference(*rows, resamples=resamples)
        comparisons.append(comparison)
        records.append(
            {
                **dict(zip(keys, key, strict=True)),
                "first": score(rows[0]).f1,
                "second": score(rows[1]).f1,
                "difference": comparison.interval.estimate,
                "difference_low": comparison.interval.low,
                "difference_high": comparison.interval.high,
                "n": comparison.interval.n,
            }
        )
    table = pd.DataFrame(records).assign(p=holm([comparison.p for comparison in comparisons]))
    largest = int(np.nanargmax(np.abs(table.difference))) if table.difference.notna().any() else 0
    row = table.iloc[largest]
    return Reading(
        name="compare",
        title=f"{first.name} against {second.name}",
        headline=comparisons[largest].interval,
        sentence=(
            f"the largest difference in Steering F1 is {interval_text(comparisons[largest].interval, 0)}, {row.method} at "
            f"{row.strength} strength (first minus second, paired by cluster of questions)"
        ),
        table=table,
        columns=(
            Column("method"),
            Column("strength"),
            Column("first", first.name, "%", 0),
            Column("second", second.name, "%", 0),
            Column("difference", "difference", "points", 0),
            Column("p", "p (Holm)", "", 3),
            Column("n", "clusters"),
        ),
    )


def _rows(run: Run) -> pd.DataFrame:
    import pandas as pd

    cells = [
        (place, seed)
        for place in range(len(run.config.get("models", [])))
        for seed in run.config.get("seeds", [])
    ]
    frames = [
        run.load_cell(f"{ROWS}/{place}/{seed}").assign(model=place, seed=seed)
        for place, seed in cells
        if run.cell(f"{ROWS}/{place}/{seed}") is not None
    ]
    if not frames:
        raise UsageError(
            f"{run.name} has no scored answers to compare; give runs of steer or bench with questions"
        )
    together: pd.DataFrame = pd.concat(frames, ignore_index=True)
    return together


def _arrays(frame: pd.DataFrame) -> Rows:
    log_odds, choice_mass = (
        [frame[f"{name}_{i}"].to_numpy() for i in range(3)] for name in ("log_odds", "choice_mass")
    )
    return Rows.of(frame.label.to_numpy(), frame.cluster.to_numpy(dtype=str), log_odds, choice_mass)
