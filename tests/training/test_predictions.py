"""Which predictions of a batch of pairs are read: by hand, and for any rows what reading every position would give."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.lm import Layout
from gnomon.training.predictions import Predictions
from gnomon.training.vocabulary import IGNORED

CPU = torch.device("cpu")


def laid_out(rows: list[list[int]], shared: list[int]) -> Layout:
    """Toward rows are one group, away rows the other; so many first tokens of each group are held once."""
    n = len(rows) // 2
    return Layout(rows, [list(range(n)), list(range(n, 2 * n))], 2, shared, CPU)


def test_two_pairs_by_hand() -> None:
    rows = [[1, 5, 6, 7], [1, 5, 6, 8], [1, 5, 9, 9, 7], [1, 5, 9, 9, 8]]
    found = Predictions.of(laid_out(rows, [3, 4]))
    read = list(zip(found.row.tolist(), found.position.tolist(), found.successor.tolist(), strict=True))
    assert read == [
        # Toward rows: 5 is predicted alike in the away row, where it is no joint position.
        (0, 0, 5),
        (0, 1, 6),
        (0, 2, 7),
        (0, 3, IGNORED),
        # The same beginning, another next token.
        (1, 2, 8),
        (1, 3, IGNORED),
        # Away rows: the first of five tokens is no joint position.
        (2, 1, 9),
        (2, 2, 9),
        (2, 3, 7),
        (2, 4, IGNORED),
        (3, 3, 8),
        (3, 4, IGNORED),
    ]
    assert found.joint.all()
    assert found.compared_by.tolist() == [[0, 1, 2, 3], [0, 1, 2, 5], [6, 7, 8, 9], [6, 7, 8, 11]]
    third = pytest.approx(1 / 3)
    assert found.share.tolist() == [[third, third, third, 0]] * 4
    scores = found.mean_scores(-torch.arange(1.0, 13))
    assert scores.tolist() == pytest.approx([-6 / 3, -8 / 3, -24 / 3, -26 / 3])


def test_what_both_rows_of_a_pair_predict_alike_is_not_scored() -> None:
    rows = [[1, 5, 6, 7], [1, 5, 9, 7]]
    found = Predictions.of(laid_out(rows, [4, 4]))
    assert (found.successor == 5).sum() == 0
    assert sorted(found.successor[found.successor != IGNORED].tolist()) == [6, 7, 7, 9]
    # It is still compared, and still counts as a token of the mean.
    assert len(found.compared_by[0].unique()) == 4
    assert found.share[0].tolist() == pytest.approx([0, 1 / 3, 1 / 3, 0])


def test_rows_of_one_token_have_nothing_to_score() -> None:
    found = Predictions.of(laid_out([[1], [1]], [1, 1]))
    assert found.successor.tolist() == [IGNORED] * 2
    assert found.mean_scores(torch.full((2,), 5.0)).tolist() == [0, 0]


@st.composite
def pairs(draw: st.DrawFn) -> tuple[list[list[int]], list[int]]:
    """Pairs over few words, so that much coincides by chance; the groups' beginnings are cut anywhere they allow."""
    word = st.integers(1, 3)
    n = draw(st.integers(1, 4))
    rows, shared = [], []
    for _ in range(2):
        beginning = draw(st.lists(word, min_size=1, max_size=4))
        group = [beginning + draw(st.lists(word, max_size=4)) for _ in range(n)]
        rows += group
        same = math.inf if n == 1 else len(beginning)
        shared.append(draw(st.integers(0, int(min(same, min(map(len, group)))))))
    return rows, shared


def value(ids: list[int], position: int) -> float:
    """Some number that depends on all tokens up to the next one, as a log-probability does."""
    return -(hash(tuple(ids[: position + 2])) % 1000) / 100


@settings(max_examples=200, deadline=None, derandomize=True)
@given(given_rows=pairs())
def test_the_difference_of_a_pairs_means_is_that_of_all_its_joint_tokens(
    given_rows: tuple[list[list[int]], list[int]],
) -> None:
    rows, shared = given_rows
    n = len(rows) // 2
    found = Predictions.of(laid_out(rows, shared))
    scores = found.mean_scores(
        torch.tensor(
            [
                value([*rows[row][: position + 1], successor], position)
                for row, position, successor in zip(
                    found.row.tolist(), found.position.tolist(), found.successor.tolist(), strict=True
                )
            ]
        )
    )
    for pair in range(n):
        length = min(len(rows[pair]), len(rows[n + pair]))
        means = []
        for ids in (rows[pair], rows[n + pair]):
            own = [value(ids, position) for position in range(len(ids) - length, len(ids) - 1)]
            means.append(sum(own) / max(1, len(own)))
        assert float(scores[pair] - scores[n + pair]) == pytest.approx(means[0] - means[1], abs=1e-4)


@settings(max_examples=200, deadline=None, derandomize=True)
@given(given_rows=pairs(), seed=st.integers(0, 10**6))
def test_every_joint_position_has_a_prediction_behind_the_same_tokens(
    given_rows: tuple[list[list[int]], list[int]], seed: int
) -> None:
    rows, shared = given_rows
    n = len(rows) // 2
    found = Predictions.of(laid_out(rows, shared))
    read = [
        (*rows[row][: position + 1], successor)
        for row, position, successor in zip(
            found.row.tolist(), found.position.tolist(), found.successor.tolist(), strict=True
        )
    ]
    generator = torch.Generator().manual_seed(seed)
    kept = torch.rand(len(read), generator=generator) < 0.5
    few = found.only(kept)
    left = [own for own, stays in zip(read, kept.tolist(), strict=True) if stays]
    assert few.row.tolist() == found.row[kept].tolist()
    for row, ids in enumerate(rows):
        length = min(len(ids), len(rows[(row + n) % (2 * n)]))
        assert found.joint[row].tolist() == [column < length for column in range(found.joint.shape[1])]
        for column in range(length):
            position = len(ids) - length + column
            number = int(found.compared_by[row, column])
            assert list(read[number][:-1]) == ids[: position + 1]
            if kept[number]:
                assert left[int(few.compared_by[row, column])] == read[number]
            scored = int(found.scored_by[row, column])
            if found.share[row, column] > 0 and kept[scored]:
                assert left[int(few.scored_by[row, column])] == tuple(ids[: position + 2])


def test_what_a_group_shares_is_read_once() -> None:
    rows = [[1, 2, 3, word] for word in range(4, 9)] + [[1, 3, 2, word] for word in range(4, 9)]
    found = Predictions.of(laid_out(rows, [3, 3]))
    # Per group: the second token, and what follows the third in each row, and each row's last token.
    assert len(found.row) == 2 * (1 + 1 + 5 + 5)
    alone = Predictions.of(laid_out(rows, [0, 0]))
    assert len(alone.row) == 2 * 5 * 4
