"""Singular bases against torch's own SVD, in and out of its easy cases; the choice of dimensions by hand."""

import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers.pytorch_utils import Conv1D

from gnomon.errors import UsageError
from gnomon.training.svd import (
    adapter_dimensions,
    dense_weight,
    input_basis,
    leading_right_vectors,
    orthonormal,
    output_basis,
)


def weight_with(values: torch.Tensor, d_out: int, d_in: int, seed: int = 0) -> torch.Tensor:
    draw = torch.Generator().manual_seed(seed)
    left, right = (
        torch.linalg.qr(torch.randn(d, len(values), generator=draw).double()).Q for d in (d_out, d_in)
    )
    return left * values.double() @ right.mT


def assert_orthonormal(basis: torch.Tensor) -> None:
    kept = basis.float()  # as an edit keeps it
    assert torch.allclose(kept.mT @ kept, torch.eye(kept.shape[1]), atol=1e-5)


@pytest.mark.parametrize("shape", [(24, 60), (60, 24), (32, 32)])
def test_the_bases_give_the_weight_back(shape: tuple[int, int]) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    U, S = output_basis(weight)
    V = input_basis(weight, U)
    assert_orthonormal(U)
    assert_orthonormal(V)
    assert torch.allclose(S.float(), torch.linalg.svdvals(weight), atol=1e-5)
    assert torch.allclose((U * S @ V.mT).float(), weight, atol=1e-6)


def test_a_wide_spectrum_is_no_trouble() -> None:
    """Five orders of magnitude: a Gram matrix in float32 would lose the lower half of them."""
    values = torch.logspace(0, -5, 40, dtype=torch.float64)
    weight = weight_with(values, 40, 100)
    U, S = output_basis(weight)
    assert torch.allclose(S, values, rtol=1e-4)
    assert_orthonormal(U)
    assert_orthonormal(input_basis(weight, U))
    some = torch.tensor([0, 3, 17, 39])  # the directions of an adapter
    V = input_basis(weight, U[:, some])
    assert_orthonormal(V)
    assert torch.allclose(weight @ V, U[:, some] * S[some], atol=1e-9)


def test_chosen_columns_leave_a_residual_that_is_orthogonal_to_them() -> None:
    weight = torch.randn(20, 50, generator=torch.Generator().manual_seed(2)).double()
    U, S = output_basis(weight)
    chosen = torch.tensor([1, 4, 7])
    U, S = U[:, chosen], S[chosen]
    V = input_basis(weight, U)
    rest = weight - U * S @ V.mT
    assert float((U.mT @ rest).abs().max()) < 1e-10
    assert float((rest @ V).abs().max()) < 1e-10


def test_a_weight_without_full_rank_still_has_orthonormal_bases() -> None:
    weight = weight_with(torch.tensor([3.0, 1.0]), 8, 12)
    U, S = output_basis(weight)
    assert S.tolist() == pytest.approx([3, 1, 0, 0, 0, 0, 0, 0], abs=1e-6)
    assert_orthonormal(U)
    assert_orthonormal(input_basis(weight, U))


@pytest.mark.parametrize("rows", [5, 30, 20_000])
def test_leading_right_vectors_are_those_of_the_svd(rows: int) -> None:
    """Fewer rows than columns, more, and more than are copied to float64 at once (a head)."""
    matrix = torch.randn(rows, 12, generator=torch.Generator().manual_seed(3)) * torch.linspace(3, 1, 12)
    V, S = leading_right_vectors(matrix, 4)
    wanted = torch.linalg.svd(matrix, full_matrices=False)
    assert torch.allclose(S.float(), wanted.S[:4], rtol=1e-4)
    assert torch.allclose((V.float().mT @ wanted.Vh[:4].mT).abs(), torch.eye(4), atol=1e-4)


def test_fewer_vectors_than_asked_for_where_the_rank_is_lower() -> None:
    matrix = weight_with(torch.tensor([2.0, 1.0]), 30, 10)
    V, S = leading_right_vectors(matrix, 8)
    assert V.shape == (10, 2)
    assert S.tolist() == pytest.approx([2, 1], rel=1e-4)


def test_orthonormal_columns_point_the_way_they_did() -> None:
    columns = torch.tensor([[-2.0, 1.0], [0.0, 3.0], [0.0, 0.0]])
    assert torch.allclose(
        orthonormal(columns), torch.tensor([[-1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]), atol=1e-6
    )


# -- what a Linear's weight is -----------------------------------------------------------------------------------------


def test_the_weight_of_a_conv1d_is_transposed() -> None:
    linear, conv = nn.Linear(3, 5), Conv1D(5, 3)
    x = torch.randn(2, 3)
    for module in (linear, conv):
        weight = dense_weight(module)
        assert weight.shape == (5, 3)
        assert torch.allclose(x @ weight.mT + module.bias, module(x), atol=1e-6)


class Params4bit(nn.Parameter):
    """Named as the weights of bitsandbytes are."""

    def __new__(cls, data: torch.Tensor) -> "Params4bit":
        return torch.Tensor._make_subclass(cls, data, False)


def quantised() -> nn.Linear:
    linear = nn.Linear(4, 4)
    linear.weight = Params4bit(torch.zeros(8, 1, dtype=torch.uint8))
    return linear


def test_quantised_weights_need_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(UsageError, match=r"bitsandbytes.*gnomon\[quantized\]"):
        dense_weight(quantised())


def test_quantised_weights_are_dequantised_by_their_package(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers.integrations import bitsandbytes as integration

    dense = torch.randn(4, 4)
    seen = []

    def dequantize_4bit(data: torch.Tensor, state: object) -> torch.Tensor:
        seen.append((data.dtype, state))
        return dense

    fake = SimpleNamespace(functional=SimpleNamespace(dequantize_4bit=dequantize_4bit))
    monkeypatch.setitem(sys.modules, "bitsandbytes", fake)
    monkeypatch.setattr(integration, "bnb", fake, raising=False)
    linear = quantised()
    linear.weight.quant_state = "state"
    assert torch.equal(dense_weight(linear), dense)
    assert seen == [(torch.uint8, "state")]


def test_weights_that_cannot_be_decomposed_are_told() -> None:
    packed = nn.Linear(4, 4)
    for dtype in (torch.int8, torch.float8_e4m3fn):
        packed.weight = nn.Parameter(torch.zeros(4, 4, dtype=dtype), requires_grad=False)
        with pytest.raises(UsageError, match="unquantised"):
            dense_weight(packed)
    with pytest.raises(UsageError, match="offload"):
        dense_weight(nn.Linear(4, 4, device="meta"))


# -- which dimensions ------------------------------------------------------------------------------------------------


def test_dimensions_are_a_third_of_each_score() -> None:
    #                 0    1    2    3    4    5    6
    toward = torch.tensor([[9.0, 8.0, 0.0, 0.0, 5.0, 0.0, 1.0], [-9.0, -8.0, 0.0, 0.0, 5.0, 0.0, 1.0]])
    away = torch.tensor([[0.0, 0.0, 7.0, 6.0, 0.0, 0.0, -1.0], [0.0, 0.0, -7.0, -6.0, 0.0, 0.0, -1.0]])
    # Toward leads in 0 and 1, away in 2 and 3; their signs cancel in the mean difference, where 4 and 6 are left.
    assert adapter_dimensions(torch.ones(7), toward, away, 3).tolist() == [0, 2, 4]
    # What a third leaves over goes to the differences.
    assert adapter_dimensions(torch.ones(7), toward, away, 2).tolist() == [4, 6]
    assert adapter_dimensions(torch.ones(7), toward, away, 6).tolist() == [0, 1, 2, 3, 4, 6]
    # Scores are weighed by the singular values: 1 before 0, 3 before 2.
    S = torch.tensor([1.0, 2.0, 1.0, 2.0, 1.0, 1.0, 1.0])
    assert adapter_dimensions(S, toward, away, 3).tolist() == [1, 3, 4]


def test_dimensions_that_coincide_are_filled_up_by_the_largest_score() -> None:
    toward = torch.tensor([[10.0, 1.0, 3.0, 2.0]])
    away = torch.tensor([[-10.0, 1.0, 3.0, 2.5]])
    # Direction 0 leads all three scores; then 2 (3.0) and 3 (2.5).
    assert adapter_dimensions(torch.ones(4), toward, away, 3).tolist() == [0, 2, 3]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(0, 1000), st.integers(1, 12))
def test_dimensions_are_as_many_as_asked_sorted_and_distinct(seed: int, rank: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    S = torch.rand(12, generator=draw).sort(descending=True).values
    chosen = adapter_dimensions(S, *torch.randn(2, 9, 12, generator=draw), rank).tolist()
    assert chosen == sorted(set(chosen))
    assert len(chosen) == rank
    assert 0 <= chosen[0] <= chosen[-1] < 12


@pytest.mark.parametrize("rank", [0, 5])
def test_a_rank_that_the_linear_has_not_is_refused(rank: int) -> None:
    with pytest.raises(UsageError, match="from 1 to 4"):
        adapter_dimensions(torch.ones(4), torch.ones(2, 4), torch.ones(2, 4), rank)
