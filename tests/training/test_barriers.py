"""The barriers and their ramps: the published limits, cases by hand, finite differences."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.training.barriers import (
    coherence_barrier,
    monotonic_barrier,
    monotonic_threshold,
    ramp,
    variation_limit,
)


def test_the_limit_is_the_published_formula() -> None:
    entropies = torch.tensor([0.0, 1.0, 4.0])
    wanted = [0.9 * math.sqrt(0.02), 0.9 * math.sqrt(1.02), 0.9 * math.sqrt(4.02)]
    assert variation_limit(entropies).tolist() == pytest.approx(wanted)
    assert float(variation_limit(torch.tensor(0.0))) == pytest.approx(0.127, abs=5e-4)
    assert float(variation_limit(torch.tensor(1.21))) < 1 < float(variation_limit(torch.tensor(1.22)))


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(1.2146, 12.0), st.floats(0.0, 1.0))
def test_a_token_whose_limit_is_one_is_never_penalised(entropy: float, variation: float) -> None:
    limit = variation_limit(torch.tensor([[entropy]]))
    moved = torch.tensor([[variation]], requires_grad=True)
    value = coherence_barrier(moved, limit, torch.ones(1, 1, dtype=torch.bool), weight=10.0)
    value.sum().backward()
    assert value.tolist() == [0]
    assert moved.grad is not None
    assert moved.grad.tolist() == [[0]]


def test_the_coherence_barrier_by_hand() -> None:
    moved = torch.tensor([[0.5, 0.1, 0.9], [0.2, 0.2, 1.0]])
    limit = torch.tensor([[0.2, 0.2, 0.0], [0.3, 0.3, 0.0]])
    mask = torch.tensor([[True, True, False], [True, True, False]])
    penalty = math.log(1 + 10 * 0.3) ** 2 + 0.3
    assert coherence_barrier(moved, limit, mask, weight=10.0).tolist() == pytest.approx([penalty / 2, 0])
    assert coherence_barrier(moved, limit, mask, weight=0.0).tolist() == pytest.approx([0.15, 0])


def test_the_gradient_of_the_coherence_barrier_is_that_of_finite_differences() -> None:
    moved = torch.tensor([[0.5, 0.1, 0.9]], dtype=torch.float64, requires_grad=True)
    limit = torch.tensor([[0.2, 0.2, 0.3]], dtype=torch.float64)
    mask = torch.tensor([[True, True, True]])
    assert torch.autograd.gradcheck(lambda v: coherence_barrier(v, limit, mask, weight=7.0), moved)


def test_the_threshold_grows_with_the_entropy() -> None:
    assert monotonic_threshold(torch.tensor([4.0, 0.0])).tolist() == pytest.approx([1.04, 0.04])


def test_the_monotonic_barrier_by_hand() -> None:
    threshold = torch.tensor([0.5, 0.1])
    plus, minus = torch.tensor([1.0, 0.0]), torch.tensor([-1.0, -0.3])
    # forward: the first pair is beyond its threshold on both sides, the second short of it by 0.1 at +1.
    forward = (0 + 0.1) / 2
    # backward: (1 + 0.5) + (0.5 + 1) and (0 + 0.1) + (0.1 + 0.3).
    backward = (3.0 + 0.5) / 2
    assert float(monotonic_barrier(plus, minus, threshold)) == pytest.approx(forward)
    assert float(monotonic_barrier(plus[:1], minus[1:], threshold[:1])) == pytest.approx(0.2)
    assert backward > forward


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 1000))
def test_the_orientation_is_the_better_of_the_two(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    plus, minus, threshold = torch.randn(3, 7, generator=draw).unbind()
    threshold = threshold.abs()
    forward = ((minus + threshold).clamp_min(0) + (threshold - plus).clamp_min(0)).mean()
    backward = ((plus + threshold).clamp_min(0) + (threshold - minus).clamp_min(0)).mean()
    value = monotonic_barrier(plus, minus, threshold)
    assert torch.equal(value, min(forward, backward))
    assert torch.equal(value, monotonic_barrier(minus, plus, threshold))


def test_saddle_where_both_signs_fall_costs_more_than_a_reversal() -> None:
    threshold, down = torch.full((4,), 0.5), torch.full((4,), -2.0)
    assert float(monotonic_barrier(-down, down, threshold)) == 0
    assert float(monotonic_barrier(down, down, threshold)) == pytest.approx(2.5)


def test_the_gradient_of_the_monotonic_barrier_is_that_of_finite_differences() -> None:
    plus, minus = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1)).unbind()
    threshold = torch.full((6,), 0.4, dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, b: monotonic_barrier(a, b, threshold), (plus.requires_grad_(), minus.requires_grad_())
    )


def test_a_ramp_rises_in_optimiser_steps() -> None:
    assert [ramp(step, 0, 4) for step in range(6)] == [0, 0.25, 0.5, 0.75, 1, 1]
    assert [ramp(step, 2, 4) for step in range(6)] == [0, 0, 0, 0.5, 1, 1]
    assert [ramp(step, 3, 3) for step in range(5)] == [0, 0, 0, 1, 1]  # a switch
    assert ramp(0, 0, 0) == 1
