"""The cores: odd, exact at zero, reversed by the sign, checked against matrices worked out by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.dials import FreeCore, LowRank, RotationCore, cayley
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


# -- an edited Linear in the published form: W' = U diag(S + a dS) (V R)^T + W_res ----------------------------------------


class Published:
    """r singular directions of a Linear of the model, their change, and the edit that holds them."""

    def __init__(self, lm, chosen=(0, 2, 5), seed: int = 0) -> None:
        draw = torch.Generator().manual_seed(seed)
        self.path = next(path for path in lm.linears() if path.endswith("mlp.down_proj"))
        self.linear = lm.linears()[self.path]
        self.W = self.linear.weight.detach()
        U, S, Vh = torch.linalg.svd(self.W, full_matrices=False)
        index = list(chosen)
        self.U, self.S, self.V = U[:, index], S[index], Vh[index].mT
        self.W_res = self.W - self.U * self.S @ self.V.mT
        self.dS = 0.1 * torch.randn(len(index), generator=draw)
        self.A = skew(len(index), seed)

    def weight(self, alpha: float) -> torch.Tensor:
        half = alpha * self.A / 2
        eye = torch.eye(len(self.S))
        R = torch.linalg.inv(eye - half) @ (eye + half)
        return self.U @ torch.diag(self.S + alpha * self.dS) @ (self.V @ R).mT + self.W_res

    def edit(self, sign: float = 1.0) -> LowRank:
        return LowRank(self.path, self.U, self.V, RotationCore(self.S, sign * self.dS, sign * self.A))


@pytest.mark.parametrize("alpha", [-1.0, -0.3, 1.0, 2.5])
def test_the_change_of_the_weight_is_that_of_the_published_form(tiny_lm, alpha: float) -> None:
    published = Published(tiny_lm)
    edit = published.edit()
    change = published.weight(alpha) - published.W
    assert torch.allclose(edit.U @ edit.core.matrix(alpha) @ edit.V.mT, change, atol=1e-5)
    assert float(change.abs().max()) > 1e-2
    ((module, delta),) = edit.deltas(tiny_lm, alpha)
    x = torch.randn(2, 3, published.W.shape[1])
    assert module is published.linear
    assert torch.allclose(module(x) + delta(x), x @ published.weight(alpha).mT, atol=1e-5)


@pytest.mark.parametrize("alpha", [-1.0, 1.0])
def test_the_change_of_the_weight_has_the_rank_of_the_edit_and_lies_in_its_bases(
    tiny_lm, alpha: float
) -> None:
    published = Published(tiny_lm)
    change = published.weight(alpha) - published.W
    assert int(torch.linalg.matrix_rank(change, atol=1e-5)) == 3
    assert torch.allclose(published.U @ (published.U.mT @ change), change, atol=1e-5)
    assert torch.allclose((change @ published.V) @ published.V.mT, change, atol=1e-5)


def test_turning_the_signs_of_the_parameters_is_turning_the_sign_of_alpha(tiny_lm) -> None:
    published = Published(tiny_lm)
    one, other = published.edit(), published.edit(sign=-1.0)
    for alpha in (0.4, 1.0, 3.0):
        assert torch.equal(other.core.matrix(alpha), one.core.matrix(-alpha))
        assert torch.equal(one.scaled(-1).core.matrix(alpha), one.core.matrix(-alpha))
        # Not odd: stretching and turning together have an even part.
        assert not torch.allclose(one.core.matrix(-alpha), -one.core.matrix(alpha), atol=1e-3)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(2, 8), st.integers(0, 1000), st.floats(0.01, 3.0))
def test_the_rotation_at_minus_alpha_undoes_the_one_at_alpha(rank: int, seed: int, alpha: float) -> None:
    a = skew(rank, seed)
    forth, back = cayley(alpha * a), cayley(-alpha * a)
    assert torch.allclose(back @ forth, torch.eye(rank), atol=1e-4)
    assert torch.allclose(forth @ back, torch.eye(rank), atol=1e-4)
    assert float(torch.linalg.det(forth)) == pytest.approx(1, abs=1e-4)


def test_a_matrix_that_is_not_skew_is_refused() -> None:
    with pytest.raises(UsageError, match="skew"):
        RotationCore(S=torch.ones(2), dS=torch.zeros(2), A=torch.ones(2, 2))
