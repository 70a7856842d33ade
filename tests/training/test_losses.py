"""The projection loss and the distillation of states: worked out by hand, by finite differences, in their range."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.training.losses import (
    dpo_loss,
    focus,
    gap_scale,
    ipo_loss,
    mean_over_positions,
    mean_square,
    odd_and_even,
    projection_loss,
    reward_margin,
    state_distillation,
)

ONES = torch.ones(2)


def loss(plus, minus, *, gap=(1.0, 0.0), sigma=ONES, norms=None, softness=0.0, margin=0.0):
    """One pair whose gap changes by `plus` and `minus`; the norms are those of the changes unless given."""
    gap, plus, minus = (torch.tensor([side]) for side in (gap, plus, minus))
    norm_plus, norm_minus = (
        (plus.norm(dim=1), minus.norm(dim=1)) if norms is None else map(torch.tensor, norms)
    )
    value = projection_loss(
        gap, gap + plus, gap + minus, norm_plus, norm_minus, sigma, softness=softness, margin=margin
    )
    return float(value)


# -- the projection loss ---------------------------------------------------------------------------------------------


def test_opposite_changes_along_the_gap_are_the_best_and_equal_ones_the_worst() -> None:
    assert loss((2.0, 0.0), (-1.0, 0.0)) == pytest.approx(-30)
    assert loss((-2.0, 0.0), (1.0, 0.0)) == pytest.approx(-30)  # which sign points which way does not matter
    assert loss((2.0, 0.0), (1.0, 0.0)) == pytest.approx(930)
    assert loss((2.0, 0.0), (0.0, 1.0)) == pytest.approx(0, abs=1e-4)


def test_a_case_by_hand_with_everything_in_it() -> None:
    # d+ / sigma = (3, 4) and the gap (5, 0): c+ = 0.6; d- / sigma = (-1, 0): c- = -1. Lengths before sigma: 5 and 2.
    sigma = torch.tensor([1.0, 1.0])
    f_plus, f_minus = 5 / 10, 2 / 4
    p = 0.6 * f_plus**0.75 * -1 * f_minus**0.75
    z = 30 * p + 20
    value = loss(
        (3.0, 4.0),
        (-2.0, 0.0),
        gap=(5.0, 0.0),
        sigma=sigma,
        norms=([10.0], [4.0]),
        softness=0.25,
        margin=20.0,
    )
    assert value == pytest.approx(z + max(z, 0) ** 2, rel=1e-5)
    assert z > 0  # the square is there


def test_sigma_turns_the_cosines_and_not_the_focus() -> None:
    # (3, 4) / (1, 4) = (3, 1) and (3, 0) / (1, 4) = (3, 0)
    value = loss(
        (3.0, 4.0), (-3.0, 0.0), gap=(3.0, 0.0), sigma=torch.tensor([1.0, 4.0]), norms=([10.0], [3.0])
    )
    assert value == pytest.approx(-30 * 3 / math.sqrt(10) * 0.5, rel=1e-5)


def test_at_softness_one_the_focus_is_ignored() -> None:
    assert loss((2.0, 0.0), (-1.0, 0.0), norms=([200.0], [50.0]), softness=1.0) == pytest.approx(-30)
    assert loss((2.0, 0.0), (-1.0, 0.0), norms=([200.0], [50.0]), softness=0.0) == pytest.approx(
        -30 * 0.01 * 0.02
    )


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 10_000), st.floats(0, 1), st.integers(1, 5))
def test_the_loss_stays_in_its_range(seed: int, softness: float, k: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    gap, plus, minus = (
        torch.randn(6, k, generator=draw) * 10 ** float(torch.randn((), generator=draw)) for _ in range(3)
    )
    norms = [side.sub(gap).norm(dim=1) * (0.5 + torch.rand(6, generator=draw)) for side in (plus, minus)]
    value = projection_loss(gap, plus, minus, *norms, gap_scale(gap), softness=softness)
    assert float(value.min()) >= -30 - 1e-3
    assert float(value.max()) <= 930 + 1e-1


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(0.1, 10.0), st.integers(0, 1000))
def test_the_size_of_a_change_does_not_matter(size: float, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    gap, plus, minus = (torch.randn(4, 3, generator=draw, dtype=torch.float64) for _ in range(3))
    norm = torch.full((4,), 5.0, dtype=torch.float64)
    sigma = gap_scale(gap)
    before = projection_loss(gap, gap + plus, gap + minus, norm, norm, sigma, softness=0.25)
    after = projection_loss(gap, gap + size * plus, gap + minus, size * norm, norm, sigma, softness=0.25)
    assert torch.allclose(before, after)


def test_its_gradient_is_that_of_finite_differences() -> None:
    draw = torch.Generator().manual_seed(3)
    gap, plus, minus = (torch.randn(5, 3, generator=draw, dtype=torch.float64) for _ in range(3))
    norm_plus, norm_minus = ((side - gap).norm(dim=1) * 1.7 for side in (plus, minus))
    sigma = gap_scale(gap)
    inputs = [tensor.requires_grad_() for tensor in (plus, minus, norm_plus, norm_minus)]

    def function(*sides):
        return projection_loss(gap, *sides, sigma, softness=0.25, margin=5.0)

    values = function(*inputs).detach()
    assert float(values.min()) < 0 < float(values.max())  # both branches of the relu are differentiated
    assert torch.autograd.gradcheck(function, inputs)


@pytest.mark.parametrize("softness", [0.0, 0.25, 1.0])
def test_where_nothing_changed_the_gradient_is_finite(softness: float) -> None:
    gap = torch.tensor([[1.0, 2.0]])
    plus, minus = gap.clone().requires_grad_(), (gap - 1).requires_grad_()
    norms = [(side - gap).norm(dim=1) for side in (plus, minus)]
    projection_loss(gap, plus, minus, *norms, ONES, softness=softness).sum().backward()
    assert plus.grad is not None
    assert minus.grad is not None
    assert bool(plus.grad.isfinite().all())
    assert bool(minus.grad.isfinite().all())


def test_focus_is_a_share_of_the_length() -> None:
    change = torch.tensor([[3.0, 4.0], [3.0, 4.0], [3.0, 4.0], [3e-4, 4e-4]])
    shares = focus(change, torch.tensor([10.0, 5.0, 4.0, 5e-4]))
    # The third is what a basis that is not orthonormal would give; the last is measured against 1e-3.
    assert torch.allclose(shares, torch.tensor([0.5, 1.0, 1.0, 0.5]))


def test_the_scale_of_a_coordinate_is_its_spread_over_the_batch() -> None:
    gap = torch.tensor([[1.0, 10.0, 0.0], [3.0, 20.0, 0.0]])
    wanted = [math.sqrt(2 + 1e-6), math.sqrt(50 + 1e-6), 0.1 * math.sqrt(2 + 1e-6) + 1e-6]
    assert gap_scale(gap).tolist() == pytest.approx(wanted)  # the floor is a tenth of the median
    assert gap_scale(gap * 0.01).tolist() == pytest.approx([0.05, math.sqrt(0.005 + 1e-6), 0.05])


def test_the_scale_of_one_pair_is_the_floor_and_has_no_gradient() -> None:
    gap = torch.tensor([[5.0, -5.0]], requires_grad=True)
    assert gap_scale(gap).tolist() == pytest.approx([0.05, 0.05])
    assert not gap_scale(gap).requires_grad


# -- preferences on states -------------------------------------------------------------------------------------------


def test_a_margin_is_how_far_the_gap_moved_along_itself_in_units_of_its_spread() -> None:
    gap, sigma = torch.tensor([[3.0, 8.0]]), torch.tensor([1.0, 2.0])  # g / sigma = (3, 4), of length 5
    moved = torch.tensor([[1.0, 2.0]])  # (1, 1) in units of sigma: (3 + 4) / 5
    assert float(reward_margin(gap, gap + moved, sigma)) == pytest.approx(1.4)
    assert float(reward_margin(gap, gap - 2 * moved, sigma)) == pytest.approx(-2.8)
    across = torch.tensor([[4.0, -6.0]])  # (4, -3)
    assert float(reward_margin(gap, gap + across, sigma)) == pytest.approx(0, abs=1e-6)


def test_dpo_by_hand() -> None:
    nothing = torch.zeros(1)
    assert float(dpo_loss(nothing, nothing, beta=0.1)) == pytest.approx(2 * math.log(2))
    plus, minus = torch.tensor([3.0]), torch.tensor([-1.0])
    by_hand = math.log(1 + math.exp(-1.5)) + math.log(1 + math.exp(-0.5))
    assert float(dpo_loss(plus, minus, beta=0.5)) == pytest.approx(by_hand)
    turned = math.log(1 + math.exp(1.5)) + math.log(1 + math.exp(0.5))
    assert float(dpo_loss(-plus, -minus, beta=0.5)) == pytest.approx(turned)


def test_ipo_by_hand() -> None:
    wanted = torch.tensor([5.0])  # 1 / (2 * 0.1)
    assert float(ipo_loss(wanted, -wanted, beta=0.1)) == pytest.approx(0)
    assert float(ipo_loss(0 * wanted, 0 * wanted, beta=0.1)) == pytest.approx(50)
    assert float(ipo_loss(torch.tensor([7.0]), torch.tensor([-2.0]), beta=0.1)) == pytest.approx(4 + 9)


@pytest.mark.parametrize("preference", [dpo_loss, ipo_loss])
def test_the_gradient_of_a_preference_is_that_of_finite_differences_and_alive_at_the_start(
    preference,
) -> None:
    draw = torch.Generator().manual_seed(4)
    gap, plus, minus = (torch.randn(5, 3, generator=draw, dtype=torch.float64) for _ in range(3))
    sigma = gap_scale(gap)

    def function(*sides):
        return preference(*(reward_margin(gap, side, sigma) for side in sides), beta=0.3)

    assert torch.autograd.gradcheck(function, [tensor.requires_grad_() for tensor in (plus, minus)])
    start = [gap.clone().requires_grad_() for _ in range(2)]
    rising, falling = torch.autograd.grad(function(*start).sum(), start)
    assert bool((rising * gap).sum(1).lt(0).all())  # a larger gap is better at +1
    assert bool((falling * gap).sum(1).gt(0).all())


# -- means and distillation ------------------------------------------------------------------------------------------


def test_masked_positions_do_not_count_whatever_they_hold() -> None:
    values = torch.tensor(
        [[1.0, 3.0, math.nan], [math.nan, 5.0, math.inf], [math.nan] * 3], requires_grad=True
    )
    mask = torch.tensor([[True, True, False], [False, True, False], [False] * 3])
    means = mean_over_positions(values, mask)
    assert means.tolist() == [2.0, 5.0, 0.0]
    means.sum().backward()
    assert values.grad is not None
    assert values.grad.tolist() == [[0.5, 0.5, 0], [0, 1, 0], [0, 0, 0]]


def test_state_distillation_by_hand() -> None:
    target = torch.tensor([[[3.0, 4.0], [0.0, 1.0]], [[1.0, 0.0], [9.0, 9.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    # Squared distances from 0: 25, 1, 1 on the three positions that count; the gap's mean square is 6.
    value = state_distillation(torch.zeros_like(target), target, mask, gap_square=6.0)
    assert float(value) == pytest.approx(27 / 3 / 6)


def test_distillation_is_one_before_training_and_zero_at_the_target() -> None:
    draw = torch.Generator().manual_seed(0)
    plain, target = torch.randn(2, 4, 5, 8, generator=draw)
    mask = torch.rand(4, 5, generator=draw) < 0.7
    gap_square = mean_square(target - plain, mask)
    assert float(state_distillation(plain, target, mask, gap_square=gap_square)) == pytest.approx(1)
    assert float(state_distillation(target, target, mask, gap_square=gap_square)) == 0


def test_the_gradient_of_distillation_is_that_of_finite_differences() -> None:
    states, target = torch.randn(2, 2, 3, 4, dtype=torch.float64)
    mask = torch.tensor([[True, False, True], [True, True, False]])
    assert torch.autograd.gradcheck(
        lambda h: state_distillation(h, target, mask, gap_square=2.0), states.requires_grad_()
    )


def test_odd_and_even_parts_add_up() -> None:
    plus, minus = torch.tensor([3.0, 1.0]), torch.tensor([-1.0, 1.0])
    odd, even = odd_and_even(plus, minus)
    assert odd.tolist() == [2.0, 0.0]
    assert even.tolist() == [1.0, 1.0]
    assert torch.equal(even + odd, plus)
    assert torch.equal(even - odd, minus)
