"""The partition by shared beginnings: always a partition, always really shared, and worth it."""

from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.lm.prefixes import share

ROWS = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=7), min_size=1, max_size=9)


@given(ROWS, st.integers(0, 6))
def test_a_partition_into_truly_shared_beginnings(ids, overhead) -> None:
    groups = share(ids, overhead)
    assert sorted(row for group in groups for row in group.rows) == list(range(len(ids)))
    for group in groups:
        if group.shared:
            assert len({tuple(ids[row][: group.shared]) for row in group.rows}) == 1
            assert all(len(ids[row]) > group.shared for row in group.rows)
            assert (len(group.rows) - 1) * group.shared > overhead


def largest(rows: list[list[int]], overhead: int) -> int:
    """The most that one group alone can save, by trying every beginning of every row."""
    beginnings = {tuple(row[:n]) for row in rows for n in range(1, len(row))}
    sizes = {b: sum(len(row) > len(b) and tuple(row[: len(b)]) == b for row in rows) for b in beginnings}
    return max((max(0, (size - 1) * len(b) - overhead) for b, size in sizes.items()), default=0)


@settings(max_examples=300)
@given(ROWS, st.integers(0, 6))
def test_it_saves_at_least_what_the_best_group_saves(ids, overhead) -> None:
    saved = sum((len(g.rows) - 1) * g.shared - overhead for g in share(ids, overhead) if g.shared)
    assert saved >= largest(ids, overhead)


def test_two_personas_with_a_word_in_common_are_two_groups() -> None:
    rows = [[9, persona, 5, 5, 5, suffix] for persona in (1, 2) for suffix in range(4)]
    assert sorted((g.shared, sorted(g.rows)) for g in share(rows, overhead=2)) == [
        (5, [0, 1, 2, 3]),
        (5, [4, 5, 6, 7]),
    ]
