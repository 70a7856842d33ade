"""How rows are split into batches: nothing is lost, nothing is padded beyond its limit, and no run is needlessly short."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from gnomon.lm.batches import alike, cut


def padded(costs: list[int], run: list[int]) -> int:
    return max(costs[index] for index in run) * len(run)


@given(costs=st.lists(st.integers(1, 40), max_size=40), padding=st.integers(0, 60))
def test_runs_that_are_alike_are_as_long_as_their_padding_allows(costs: list[int], padding: int) -> None:
    order = list(range(len(costs)))
    runs = list(alike(costs, order, padding))
    assert [index for run in runs for index in run] == order
    wasted = [padded(costs, run) - sum(costs[index] for index in run) for run in runs]
    assert all(waste <= padding for waste in wasted)
    for run, following in itertools.pairwise(runs):
        longer = [*run, following[0]]
        assert padded(costs, longer) - sum(costs[index] for index in longer) > padding


def test_short_rows_are_not_padded_to_the_longest() -> None:
    costs = [4] * 30 + [12] * 30
    assert [len(run) for run in alike(costs, range(60), 64)] == [30, 30]
    assert [len(run) for run in alike(costs, range(60), 240)] == [60]


@given(costs=st.lists(st.integers(1, 40), max_size=40), budget=st.integers(1, 100), rows=st.integers(1, 9))
def test_batches_stay_within_the_budget_and_the_row_limit(costs: list[int], budget: int, rows: int) -> None:
    order = list(range(len(costs)))
    runs = list(cut(costs, order, budget, rows))
    assert [index for run in runs for index in run] == order
    assert all(len(run) == 1 or (padded(costs, run) <= budget and len(run) <= rows) for run in runs)
