from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.contrast.pairs import draw, near_duplicates, split
from gnomon.errors import UsageError

sizes = st.integers(1, 12)
seeds = st.integers(0, 2**32)
seeded = settings(derandomize=True, deadline=None)


@seeded
@given(sizes, sizes, st.integers(1, 160), seeds)
def test_combinations_are_drawn_evenly_and_never_twice(
    n_templates: int, n_suffixes: int, most: int, seed: int
) -> None:
    drawn = draw(n_templates, n_suffixes, most, seed)
    assert len(set(drawn)) == len(drawn) == min(most, n_templates * n_suffixes)
    for which, count in ((0, n_templates), (1, n_suffixes)):
        uses = Counter(dict.fromkeys(range(count), 0))
        uses.update(pair[which] for pair in drawn)
        assert len(uses) == count
        assert max(uses.values()) - min(uses.values()) <= 1


def test_the_seed_decides_the_draw() -> None:
    assert draw(5, 40, 60, 3) == draw(5, 40, 60, 3)
    assert draw(5, 40, 60, 3) != draw(5, 40, 60, 4)


def test_near_duplicates_are_chained() -> None:
    texts = [
        "I walked to the old shop",
        "Water is wet",
        "i walked to the old shop!",
        "Shall we walk home",
        "I walked to the old shop today",
        "We see that I walked to the old shop today",
    ]
    # 6 of 6 words, 6 of 7 words; the last shares 7 of 10 words with its nearest
    assert near_duplicates(texts) == [[0, 2, 4], [1], [3], [5]]


def test_punctuation_alone_is_not_one_big_duplicate() -> None:
    assert near_duplicates(["...", "?!"]) == [[0], [1]]


@seeded
@given(st.lists(st.sampled_from("abcdef"), min_size=2, max_size=20), st.floats(0.01, 0.99), seeds)
def test_near_duplicates_never_straddle_the_split(letters: list[str], share: float, seed: int) -> None:
    # the same letter in other punctuation is a near-duplicate
    suffixes = [letter + "." * index for index, letter in enumerate(letters)]
    if len(set(letters)) == 1:
        with pytest.raises(UsageError, match="all alike"):
            split(suffixes, share, seed)
        return
    flags = split(suffixes, share, seed)
    assert any(flags)
    assert not all(flags)
    for letter in set(letters):
        assert len({flag for flag, other in zip(flags, letters, strict=True) if other == letter}) == 1


@seeded
@given(st.integers(2, 60), st.floats(0.05, 0.95), seeds)
def test_the_share_is_met_where_nothing_is_alike(n: int, share: float, seed: int) -> None:
    flags = split([f"word{index}" for index in range(n)], share, seed)
    assert sum(flags) == min(max(1, round(share * n)), n - 1)


def test_the_seed_decides_the_split() -> None:
    suffixes = [f"word{index}" for index in range(40)]
    assert split(suffixes, 0.25, 1) == split(suffixes, 0.25, 1)
    assert split(suffixes, 0.25, 1) != split(suffixes, 0.25, 2)
