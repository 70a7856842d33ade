"""Pairs as token rows: both sides of a contrast, their digest, and the batches they are dealt into."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.contrast import Contrast
from gnomon.lm import LM
from gnomon.training.pair_rows import PairRows


def test_the_rows_are_the_encoded_pairs(tiny_lm: LM, tiny_contrast: Contrast) -> None:
    pairs = tiny_contrast.resolve(tiny_lm)
    rows = PairRows.of(tiny_lm, pairs)
    assert len(rows) == len(pairs) > 0
    assert rows.toward == tuple(tiny_lm.encode(pairs.toward))
    assert rows.away == tuple(tiny_lm.encode(pairs.away))
    assert rows.template == pairs.template
    assert rows.validation == pairs.validation
    toward, away = tiny_lm.encode(["honest"])[0][-1], tiny_lm.encode(["dishonest"])[0][-1]
    for one, other in zip(rows.toward, rows.away, strict=True):
        assert toward in one
        assert toward not in other
        assert away in other
        assert one[-3:] == other[-3:]


def test_the_sides_are_all_pairs(pair_rows: PairRows) -> None:
    training, validation = (pair_rows.side(validation=kept) for kept in (False, True))
    assert sorted(training + validation) == list(range(len(pair_rows)))
    assert all(pair_rows.validation[pair] for pair in validation)


@pytest.mark.parametrize("field", ["toward", "away", "template", "validation"])
def test_the_digest_changes_with_whatever_changes(pair_rows: PairRows, field: str) -> None:
    assert replace(pair_rows).digest() == pair_rows.digest()
    own = getattr(pair_rows, field)
    other = replace(pair_rows, **{field: (own[1], own[0], *own[2:])})
    if other != pair_rows:
        assert other.digest() != pair_rows.digest()
    last = {"toward": [1], "away": [1], "template": 2, "validation": False}[field]
    longer = replace(pair_rows, **{field: (*own[:-1], last)})
    assert longer.digest() != pair_rows.digest()


@settings(max_examples=100, deadline=None, derandomize=True)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=30),
    templates=st.integers(1, 3),
    size=st.integers(1, 12),
    seed=st.integers(0, 99),
    data=st.data(),
)
def test_every_pair_is_in_one_batch_of_its_template(
    lengths: list[int], templates: int, size: int, seed: int, data: st.DataObject
) -> None:
    template = tuple(place % templates for place in range(len(lengths)))
    held = tuple(data.draw(st.lists(st.booleans(), min_size=len(lengths), max_size=len(lengths))))
    rows = tuple([1] * length for length in lengths)
    found = PairRows(rows, rows, template, held)
    for validation in (False, True):
        batches = found.batches(size, seed, validation=validation)
        assert sorted(pair for batch in batches for pair in batch) == found.side(validation=validation)
        assert batches == found.batches(size, seed, validation=validation)
        by_template: dict[int, list[list[int]]] = {}
        for batch in batches:
            assert 1 <= len(batch) <= size
            (own,) = {template[pair] for pair in batch}
            by_template.setdefault(own, []).append(batch)
        for own in by_template.values():
            sizes = [len(batch) for batch in own]
            assert max(sizes) - min(sizes) <= 1
            assert len(own) == -(-sum(sizes) // size)  # no more of them than are needed
            flat = [lengths[pair] for batch in own for pair in batch]
            assert flat == sorted(flat)


def test_another_seed_deals_otherwise(pair_rows: PairRows) -> None:
    same = replace(pair_rows, toward=tuple([1, 2] for _ in range(len(pair_rows))))
    assert len({str(same.batches(2, seed, validation=False)) for seed in range(10)}) > 5
