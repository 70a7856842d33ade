"""The cores: odd, exact at zero, reversed by the sign, checked against matrices worked out by hand."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gnomon.dials import FreeCore, RotationCore, cayley
from gnomon.errors import UsageError


def skew(rank: int, seed: int) -> torch.Tensor:
    square = torch.randn(rank, rank, generator=torch.Generator().manual_seed(seed))
    return square - square.mT


def test_cayley_of_a_plane_is_the_rotation_by_twice_the_arctangent() -> None:
    a = torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    # (I - A/2)^-1 (I + A/2) with A = [[0, -t], [t, 0]] turns by 2 atan(t / 2): cos = 3/5, sin = 4/5 at t = 1.
    assert torch.allclose(cayley(a), torch.tensor([[0.6, -0.8], [0.8, 0.6]]), atol=1e-6)


@given(st.integers(1, 6), st.integers(0, 1000))
def test_cayley_is_a_rotation_and_the_sign_inverts_it(rank: int, seed: int) -> None:
    a = skew(rank, seed)
    assert torch.allclose(cayley(a) @ cayley(a).mT, torch.eye(rank), atol=1e-4)
    assert torch.allclose(cayley(-a), cayley(a).mT, atol=1e-4)


def test_free_core_is_linear_and_odd() -> None:
    core = FreeCore(torch.tensor([[1.0, 2.0], [3.0, 4.0]]))
    assert torch.equal(core.matrix(-0.5), -core.matrix(0.5))
    assert torch.equal(core.scaled(3.0).matrix(1.0), core.matrix(3.0))


def test_rotation_core_is_zero_at_zero_and_matches_its_equation() -> None:
    core = RotationCore(
        S=torch.tensor([2.0, 1.0]), dS=torch.tensor([0.5, 0.0]), A=torch.tensor([[0.0, -1.0], [1.0, 0.0]])
    )
    assert torch.allclose(core.matrix(0.0), torch.zeros(2, 2), atol=1e-6)
    # diag(2.5, 1) R^T - diag(2, 1) with R the turn above.
    expected = torch.tensor([[2.5 * 0.6 - 2, 2.5 * 0.8], [-0.8, 0.6 - 1]])
    assert torch.allclose(core.matrix(1.0), expected, atol=1e-6)
    assert torch.allclose(core.scaled(0.3).matrix(1.0), core.matrix(0.3), atol=1e-6)


def test_a_matrix_that_is_not_skew_is_refused() -> None:
    with pytest.raises(UsageError, match="skew"):
        RotationCore(S=torch.ones(2), dS=torch.zeros(2), A=torch.ones(2, 2))
