"""Subspaces: planted directions are found, and their algebra is that of subspaces."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.errors import UsageError
from gnomon.training.subspaces import (
    Subspace,
    centred_task,
    complement,
    intersection,
    lm_head,
    minus,
    not_lm_head,
    suppressed,
    task,
    union,
    weighted_intersection,
    write,
)

AXES = torch.eye(8)


def span(*columns: torch.Tensor, weights: list[float] | None = None) -> Subspace:
    basis = torch.linalg.qr(torch.stack(columns, dim=1)).Q
    return Subspace(basis, torch.tensor(weights or [1.0] * basis.shape[1]))


def axes(*indices: int, weights: list[float] | None = None) -> Subspace:
    return Subspace(AXES[:, list(indices)], torch.tensor(weights or [1.0] * len(indices)))


def random_space(d: int, k: int, seed: int) -> Subspace:
    draw = torch.Generator().manual_seed(seed)
    basis = torch.linalg.qr(torch.randn(d, k, generator=draw)).Q
    return Subspace(basis, torch.rand(k, generator=draw).sort(descending=True).values + 0.1)


def projector(space: Subspace) -> torch.Tensor:
    return space.basis @ space.basis.mT


def assert_same(a: Subspace, b: Subspace, atol: float = 1e-4) -> None:
    assert a.rank == b.rank
    assert torch.allclose(projector(a), projector(b), atol=atol)


def assert_inside(inner: Subspace, outer: Subspace, atol: float = 1e-4) -> None:
    assert torch.allclose(projector(outer) @ inner.basis, inner.basis, atol=atol)


def assert_orthonormal(space: Subspace) -> None:
    assert torch.allclose(space.basis.mT @ space.basis, torch.eye(space.rank), atol=1e-5)
    assert bool((space.spectrum[:-1] >= space.spectrum[1:]).all())


seeds, ranks = st.integers(0, 10_000), st.integers(1, 6)


# -- the algebra -----------------------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds, ranks, ranks)
def test_every_combination_is_orthonormal_and_says_its_angles(seed: int, k: int, m: int) -> None:
    a, b = random_space(12, k, seed), random_space(12, m, seed + 1)
    cosines = torch.linalg.svdvals(a.basis.mT @ b.basis)
    for space in (intersection(a, b), weighted_intersection(a, b), union(a, b)):
        assert_orthonormal(space)
        assert space.cosines is not None
        assert torch.allclose(space.cosines, cosines, atol=1e-5)
    assert_orthonormal(complement(a))
    assert_orthonormal(minus(a, b))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds, ranks)
def test_a_space_with_itself_is_itself(seed: int, k: int) -> None:
    a = random_space(10, k, seed)
    turned = Subspace(a.basis @ torch.linalg.qr(torch.randn(k, k)).Q, torch.ones(k))
    for space in (intersection(a, turned), weighted_intersection(a, turned), union(a, turned)):
        assert_same(space, a)
        assert space.cosines is not None
        assert torch.allclose(space.cosines, torch.ones(k), atol=1e-5)
    assert torch.allclose(intersection(a, turned).spectrum, torch.ones(k), atol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds, st.integers(1, 3), st.integers(0, 3), st.integers(0, 3))
def test_what_two_spaces_truly_share_is_their_intersection(
    seed: int, shared: int, only_a: int, only_b: int
) -> None:
    frame = random_space(12, shared + only_a + only_b, seed).basis
    common = Subspace(frame[:, :shared], torch.ones(shared))
    a = Subspace(frame[:, : shared + only_a], torch.ones(shared + only_a))
    b = Subspace(
        torch.cat([frame[:, :shared], frame[:, shared + only_a :]], dim=1), torch.ones(shared + only_b)
    )
    met = intersection(a, b)
    assert_same(met, common)
    assert_inside(met, a)
    assert_inside(met, b)
    assert_same(weighted_intersection(a, b), common)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds, ranks, ranks)
def test_a_union_contains_both_and_nothing_else(seed: int, k: int, m: int) -> None:
    a, b = random_space(14, k, seed), random_space(14, m, seed + 1)
    both = union(a, b)
    assert both.rank == k + m
    assert_inside(a, both)
    assert_inside(b, both)
    assert float(both.spectrum.sum()) == pytest.approx(k + m, rel=1e-4)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds, ranks, ranks)
def test_the_order_of_the_two_spaces_does_not_matter(seed: int, k: int, m: int) -> None:
    a, b = random_space(12, k, seed), random_space(12, m, seed + 1)
    assert_same(union(a, b), union(b, a))
    assert_same(intersection(a, b), intersection(b, a))
    one, other = weighted_intersection(a, b), weighted_intersection(b, a)
    assert torch.allclose(one.spectrum, other.spectrum, atol=1e-6)
    assert torch.allclose((one.basis * other.basis).sum(0).abs()[0], torch.tensor(1.0), atol=1e-3)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds, ranks)
def test_a_complement_is_everything_else(seed: int, k: int) -> None:
    a = random_space(9, k, seed)
    rest = complement(a)
    assert torch.allclose(projector(a) + projector(rest), torch.eye(9), atol=1e-5)
    assert_same(complement(rest), a)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds, ranks, ranks)
def test_minus_leaves_what_is_orthogonal(seed: int, k: int, m: int) -> None:
    a, b = random_space(12, k, seed), random_space(12, m, seed + 1)
    left = minus(a, b)
    assert float((b.basis.mT @ left.basis).abs().max()) < 1e-4
    assert_inside(left, union(a, b))
    assert_same(union(left, b), union(a, b), atol=1e-3)


def test_minus_keeps_directions_and_not_columns() -> None:
    """Two columns of a, of whose plane one direction is removed: one is left, not two."""
    diagonal = (AXES[0] + AXES[1]) / math.sqrt(2)
    left = minus(axes(0, 1), span(diagonal))
    assert left.rank == 1
    assert torch.allclose(left.basis[:2, 0].abs(), torch.full((2,), 1 / math.sqrt(2)))
    assert left.spectrum.tolist() == pytest.approx([1.0])


def test_nothing_left_is_an_error() -> None:
    with pytest.raises(UsageError, match="nothing is left"):
        minus(axes(0, 1), axes(0, 1, 2))
    with pytest.raises(UsageError, match="nothing is orthogonal"):
        complement(axes(*range(8)))


def test_the_intersection_lies_half_way_and_drops_wide_angles() -> None:
    tilt, wide = math.radians(40), math.radians(70)
    tilted = math.cos(tilt) * AXES[0] + math.sin(tilt) * AXES[2]
    far = math.cos(wide) * AXES[1] + math.sin(wide) * AXES[3]
    met = intersection(axes(0, 1), Subspace(torch.stack([tilted, far], 1), torch.ones(2)))
    assert met.rank == 1  # cos 70 < 0.5
    half = math.cos(tilt / 2) * AXES[0] + math.sin(tilt / 2) * AXES[2]
    assert float((met.basis[:, 0] @ half).abs()) == pytest.approx(1, abs=1e-5)
    assert met.spectrum.tolist() == pytest.approx([math.cos(tilt)])
    assert met.cosines is not None
    assert met.cosines.tolist() == pytest.approx([math.cos(tilt), math.cos(wide)])


def test_where_all_angles_are_wide_the_closest_pair_is_kept() -> None:
    assert intersection(axes(0, 1), axes(2, 3)).rank == 1


def test_weights_decide_the_order_of_a_weighted_intersection() -> None:
    a, b = axes(0, 1, 2, weights=[8.0, 1.0, 1.0]), axes(2, 1, 0, weights=[6.0, 3.0, 1.0])
    met = weighted_intersection(a, b)
    # Products of the shares: axis 0: .8 x .1, axis 1: .1 x .3, axis 2: .1 x .6.
    assert met.spectrum.tolist() == pytest.approx([0.08, 0.06, 0.03])
    assert torch.allclose(met.basis.abs(), AXES[:, [0, 2, 1]], atol=1e-5)
    plain = intersection(a, b)
    assert plain.spectrum.tolist() == pytest.approx([1, 1, 1])


def test_a_basis_that_is_not_orthonormal_is_refused() -> None:
    with pytest.raises(UsageError, match="orthonormal"):
        Subspace(torch.ones(4, 2), torch.ones(2))
    with pytest.raises(UsageError, match="weights"):
        Subspace(torch.eye(4)[:, :2], torch.ones(3))


def test_the_leading_columns() -> None:
    space = axes(3, 1, 2, weights=[3.0, 2.0, 1.0])
    assert torch.equal(space.leading(2).basis, AXES[:, [3, 1]])
    assert space.leading(2).spectrum.tolist() == [3, 2]
    assert space.leading(9).rank == 3


# -- spaces of states and weights --------------------------------------------------------------------------------------


def planted_differences(n: int = 60, seed: int = 0) -> torch.Tensor:
    """The shared direction is axis 0; axis 1 varies from pair to pair with mean 0; the rest is small noise."""
    draw = torch.Generator().manual_seed(seed)
    rows = 0.02 * torch.randn(n, 8, generator=draw)
    rows[:, 0] += 2.0
    rows[:, 1] += torch.linspace(-1.0, 1.0, n)
    return rows


def test_task_keeps_the_direction_that_all_pairs_share_and_the_published_form_removes_it() -> None:
    differences = planted_differences()
    kept, published = task(differences, 3), centred_task(differences, 3)
    assert float(kept.basis[0, 0].abs()) > 0.99
    assert float(published.basis[1, 0].abs()) > 0.99
    assert float(kept.spectrum[0]) > 5 * float(kept.spectrum[2])
    assert_orthonormal(kept)
    assert_orthonormal(published)


def test_no_pair_dominates_the_task() -> None:
    differences = planted_differences()
    differences[7] = 1e4 * AXES[5]
    assert float(task(differences).basis[0, 0].abs()) > 0.99


def test_the_spectrum_of_the_task_by_hand() -> None:
    # Norms 3, 4, median 3: rows become 3 / 3.03 and 4 / 4.03 long, on two axes.
    found = task(torch.stack([3 * AXES[0], 4 * AXES[1]]))
    assert found.spectrum.tolist() == pytest.approx([4 / 4.03, 3 / 3.03], rel=1e-5)
    assert torch.allclose(found.basis.abs(), AXES[:, [1, 0]], atol=1e-6)


def test_pairs_that_do_not_differ_are_told() -> None:
    with pytest.raises(UsageError, match="do not differ"):
        task(torch.zeros(5, 8))
    with pytest.raises(UsageError, match="do not differ"):
        centred_task(torch.ones(5, 8))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(seeds)
def test_write_counts_votes(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)

    def turned(*indices: int) -> torch.Tensor:
        k = len(indices)
        return AXES[:, list(indices)] @ torch.linalg.qr(torch.randn(k, k, generator=draw)).Q

    space = write([turned(0, 1), turned(0, 2), turned(0, 1)], 3)
    assert space.spectrum.tolist() == pytest.approx([3, 2, 1], rel=1e-4)
    assert torch.allclose(space.basis.abs(), AXES[:, [0, 1, 2]], atol=1e-4)


def test_the_head_reads_its_largest_directions() -> None:
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(500, 8, generator=draw) * torch.tensor([1.0, 1, 9, 1, 1, 1, 5, 1])
    read = lm_head(weight, 2)
    assert_same(read, axes(2, 6), atol=0.1)
    rest = not_lm_head(weight, 2)
    assert rest.rank == 6
    assert float((read.basis.mT @ rest.basis).abs().max()) < 1e-5


def test_suppressed_is_the_change_outside_of_what_the_head_reads() -> None:
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(200, 8, generator=draw)
    change = torch.randn(200, 8, generator=draw) * torch.tensor([9.0, 3.0, 1.0, 0, 0, 0, 0, 0]) + 5
    found = suppressed(start, start + change, axes(0), 2)
    assert torch.allclose(found.basis.abs(), AXES[:, [1, 2]], atol=0.1)
    outside = change[:, 1:]
    assert found.spectrum.tolist() == pytest.approx(
        torch.linalg.eigvalsh(outside.mT.cov()).flip(0)[:2].tolist(), rel=1e-3
    )


def test_the_published_loss_space_finds_a_planted_direction() -> None:
    """Task and written and not read by the head: only the planted axis is all three."""
    differences = planted_differences()  # axes 0 and 1
    written = write([AXES[:, [0, 2, 3]], AXES[:, [0, 3, 4]]], 4)
    outside = minus(written, axes(2))
    found = intersection(task(differences, 2), outside)
    assert found.rank == 1
    assert float(found.basis[0, 0].abs()) > 0.99
