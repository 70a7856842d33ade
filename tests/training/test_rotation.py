"""Skew matrices from free parameters, their clamp, and many of them at once."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.dials import cayley
from gnomon.training.rotation import MAX_ANGLE, clamped, skew


def test_the_parameters_fill_the_upper_triangle() -> None:
    wanted = torch.tensor([[0.0, 1.0, 2.0], [-1.0, 0.0, 3.0], [-2.0, -3.0, 0.0]])
    assert torch.equal(skew(torch.tensor([1.0, 2.0, 3.0]), 3), wanted)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 6), st.integers(0, 1000))
def test_all_modules_in_one_call_are_each_alone(rank: int, seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    free = torch.randn(3, rank * (rank - 1) // 2, generator=draw)
    together = cayley(clamped(skew(free, rank)))
    for module in range(3):
        assert torch.allclose(together[module], cayley(clamped(skew(free[module], rank))), atol=1e-6)
        assert torch.allclose(together[module] @ together[module].mT, torch.eye(rank), atol=1e-5)
    assert torch.allclose(cayley(clamped(skew(-free, rank))), together.mT, atol=1e-5)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.floats(-100, 100))
def test_a_rotation_in_a_plane_stays_below_the_angle(parameter: float) -> None:
    matrix = clamped(skew(torch.tensor([parameter]), 2))
    angle = math.acos(min(1.0, float(cayley(matrix)[0, 0])))
    assert angle <= MAX_ANGLE + 1e-3
    assert float(clamped(skew(torch.tensor([100.0]), 2))[0, 1]) == pytest.approx(2 * math.tan(math.pi / 8))


def test_small_entries_pass_unchanged_and_the_clamp_is_odd() -> None:
    matrix = skew(torch.tensor([1e-3, -2e-3, 5e-4]), 3)
    assert torch.allclose(clamped(matrix), matrix, rtol=1e-4)
    assert torch.equal(clamped(-10 * matrix), -clamped(10 * matrix))


def test_gradients_reach_the_free_parameters() -> None:
    free = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda parameters: clamped(skew(parameters, 3)), free)
