"""Layouts: hand-made batches, and that every token is read where it is, however the rows are grouped."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnomon.errors import UsageError
from gnomon.lm.layout import Layout, Places, lay_out

ROWS = [[1, 5, 6, 7], [1, 5, 6, 8, 9], [1, 4, 3], [1, 4, 2, 2]]
GROUPS = [[0, 1], [2, 3]]


def model(tokens_per_batch: int = 32, caches_expand: bool = True) -> Any:
    """What a layout asks of a model; at 32 tokens per batch one more pass costs as much as one token."""
    return SimpleNamespace(
        tokens_per_batch=tokens_per_batch, caches_expand=caches_expand, device=torch.device("cpu")
    )


def states(layout: Layout) -> list[torch.Tensor]:
    """As the residual stream of each part: token id, position, copy; -1 at padding."""
    return [
        torch.stack(
            [part.tokens.input_ids, part.tokens.position_ids, part.copy.unsqueeze(1).expand(part.real.shape)],
            dim=-1,
        ).masked_fill(~part.real.unsqueeze(-1), -1)
        for part in layout.parts
    ]


def read(layout: Layout, places: Places) -> list[list[list[tuple[int, int]]]]:
    """Per copy and row, the token ids and positions at these places."""
    values = places.read(states(layout), layout.copies)
    assert values.shape == (layout.copies, *places.mask.shape, 3)
    assert (values >= 0).all()  # never padding, not even where the mask is False
    for copy in range(layout.copies):
        assert (values[copy, ..., 2] == copy).all()
    return [
        [[(int(t), int(p)) for t, p, _ in row[mask]] for row, mask in zip(of_copy, places.mask, strict=True)]
        for of_copy in values
    ]


def test_two_groups_by_hand() -> None:
    layout = lay_out(model(), ROWS, groups=GROUPS)
    assert layout.shared == (3, 2)
    first, last = layout.parts
    assert first.tokens.input_ids.tolist() == [[1, 5, 6], [0, 1, 4]] * 2
    assert first.tokens.attention_mask.tolist() == [[1, 1, 1], [0, 1, 1]] * 2
    assert first.tokens.position_ids.tolist() == [[0, 1, 2], [0, 0, 1]] * 2
    assert first.copy.tolist() == [0, 0, 1, 1]
    assert first.group.tolist() == [0, 1, 0, 1]
    assert last.tokens.input_ids.tolist() == [[7, 0], [8, 9], [3, 0], [2, 2]] * 2
    assert last.tokens.attention_mask.tolist() == [
        [1, 1, 1, 1, 0], [1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 1, 1, 1, 1]
    ] * 2  # fmt: skip
    assert last.tokens.position_ids.tolist() == [[3, 3], [3, 4], [2, 2], [2, 3]] * 2
    assert last.copy.tolist() == [0] * 4 + [1] * 4
    assert last.group.tolist() == [0, 0, 1, 1] * 2
    assert last.real.tolist() == [[True, False], [True, True], [True, False], [True, True]] * 2
    assert layout.beginning_of.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_coefficients_are_the_copys_own_and_zero_at_padding_and_first_tokens() -> None:
    alphas = torch.tensor([0.5, -2.0], dtype=torch.bfloat16)
    first, last = lay_out(model(), ROWS, groups=GROUPS).parts
    without = first.coefficients(alphas, first_token=False)
    assert without.dtype == torch.bfloat16
    assert without[..., 0].tolist() == [[0, 0.5, 0.5], [0, 0, 0.5], [0, -2, -2], [0, 0, -2]]
    included = first.coefficients(alphas, first_token=True)
    assert included[..., 0].tolist() == [[0.5, 0.5, 0.5], [0, 0.5, 0.5], [-2, -2, -2], [0, -2, -2]]
    for first_token in (False, True):
        assert last.coefficients(alphas, first_token=first_token)[:4, :, 0].tolist() == [
            [0.5, 0], [0.5, 0.5], [0.5, 0], [0.5, 0.5]
        ]  # fmt: skip
    (whole,) = lay_out(model(2048), ROWS[:1], copies=1).parts
    assert whole.coefficients(alphas[:1], first_token=False)[0, :, 0].tolist() == [0, 0.5, 0.5, 0.5]


def test_places_by_hand() -> None:
    layout = lay_out(model(), ROWS, groups=GROUPS)
    last = layout.last(2)
    assert last.mask.all()
    assert (
        read(layout, last) == [[[(6, 2), (7, 3)], [(8, 3), (9, 4)], [(4, 1), (3, 2)], [(2, 2), (2, 3)]]] * 2
    )
    assert layout.last(4).mask.tolist() == [[True] * 4, [True] * 4, [False, True, True, True], [True] * 4]
    assert read(layout, layout.beginnings()) == [[[(1, 0), (5, 1), (6, 2)], [(1, 0), (4, 1)]]] * 2
    assert read(layout, layout.rests())[1] == [[(7, 3)], [(8, 3), (9, 4)], [(3, 2)], [(2, 2), (2, 3)]]
    assert read(layout, layout.since([4, 3, 0, 5]))[0] == [[], [(8, 3), (9, 4)], [(1, 0), (4, 1), (3, 2)], []]


def test_only_the_parts_that_hold_the_tokens_are_touched() -> None:
    layout = lay_out(model(), ROWS, groups=GROUPS)
    assert layout.last(1).parts == layout.rests().parts == (1,)
    assert layout.beginnings().parts == (0,)
    assert layout.since(0).parts == (0, 1)


@st.composite
def batches(draw: st.DrawFn) -> tuple[list[list[int]], list[list[int]]]:
    """Rows in groups that begin alike, in any order."""
    rows: list[list[int]] = []
    groups = []
    tokens = st.integers(0, 3)
    for _ in range(draw(st.integers(1, 3))):
        begin = draw(st.lists(tokens, max_size=6))
        ends = draw(st.lists(st.lists(tokens, min_size=1, max_size=4), min_size=1, max_size=4))
        groups.append(list(range(len(rows), len(rows) + len(ends))))
        rows += [begin + end for end in ends]
    order = draw(st.permutations(range(len(rows))))
    return [rows[old] for old in order], [[order.index(row) for row in group] for group in groups]


@given(batch=batches(), copies=st.integers(1, 3), cost=st.sampled_from([1, 10**6]), n=st.integers(1, 12))
def test_every_token_is_read_where_it_is(
    batch: tuple[Sequence[list[int]], list[list[int]]], copies: int, cost: int, n: int
) -> None:
    rows, groups = batch
    layout = lay_out(model(cost), rows, groups=groups, copies=copies)
    assert len(layout.parts) == (2 if any(layout.shared) else 1)
    whole = [[(token, p) for p, token in enumerate(row)] for row in rows]
    assert read(layout, layout.since(0)) == [whole] * copies
    assert read(layout, layout.since(n)) == [[row[n:] for row in whole]] * copies
    assert read(layout, layout.last(n)) == [[row[-n:] for row in whole]] * copies
    begun, rests = read(layout, layout.beginnings()), read(layout, layout.rests())
    for group, members in enumerate(groups):
        for row in members:
            for copy in range(copies):
                assert begun[copy][group] + rests[copy][row] == whole[row]
                assert rests[copy][row]
    if cost == 1 and layout.shared != (0,) * len(groups):
        saved = len(rows) * max(map(len, rows)) - sum(part.real.numel() for part in layout.parts) // copies
        assert saved > 0


def test_a_beginning_is_shared_where_that_pays() -> None:
    rows = [[1, 2, 3, 4, 5, n] for n in range(6)]
    # Shared, 2 x 5 and 12 x 1 positions take the place of 12 x 6: 50 saved.
    assert lay_out(model(49 * 32), rows).shared == (5,)
    assert lay_out(model(50 * 32), rows).shared == (0,)
    assert lay_out(model(), rows, copies=1).shared == (5,)
    assert lay_out(model(), rows, groups=[[row] for row in range(6)]).shared == (0,) * 6
    assert lay_out(model(caches_expand=False), rows).shared == (0,)


@pytest.mark.parametrize("groups", [[[0, 1]], [[0, 1, 2, 3], []], [[0, 1, 2], [2, 3]], [[0, 1, 2, 4]]])
def test_groups_that_are_no_partition_are_refused(groups: list[list[int]]) -> None:
    with pytest.raises(UsageError, match="exactly one group"):
        lay_out(model(), ROWS, groups=groups)


@pytest.mark.parametrize("rows", [[], [[1, 2], []]])
def test_empty_batches_and_rows_are_refused(rows: list[list[int]]) -> None:
    with pytest.raises(UsageError, match="at least one"):
        lay_out(model(), rows)
