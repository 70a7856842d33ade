"""Singular bases of weights by `eigh` of the smaller Gram matrix, and the choice of an adapter's dimensions in them.

All in float64 (on the CPU where the device has none), because a Gram matrix squares the condition number; an edit keeps
the few columns it takes in float32. Knows weights; knows nothing of blocks or of what the bases are for.
"""

from __future__ import annotations

import importlib
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from gnomon.errors import UsageError

_DENSE = (
    torch.float64,
    torch.float32,
    torch.bfloat16,
    torch.float16,
)  # what a number of a weight is, and not its code
_ROWS_AT_ONCE = 8192  # a head is copied to float64 in parts


@torch.no_grad()
def dense_weight(linear: nn.Module) -> Float[Tensor, "d_out d_in"]:
    """The weight of a Linear as `y = W x`: that of GPT-2's Conv1D transposed, that of bitsandbytes dequantised.

    Raises:
        UsageError: The weight is quantised and cannot be read here, or it is not in memory.
    """
    from transformers.pytorch_utils import Conv1D

    weight = linear.weight
    assert isinstance(weight, Tensor)
    if weight.is_meta:
        raise UsageError(
            "a Linear's weight is offloaded and cannot be decomposed; open the model without offloading to disk or CPU"
        )
    if type(weight).__name__ in ("Params4bit", "Int8Params"):
        return _dequantised(linear)
    if weight.dtype not in _DENSE:
        raise UsageError(
            f"a weight of type {type(linear).__name__} ({weight.dtype}) cannot be decomposed; open the model unquantised, "
            "or in 8 or 4 bits of bitsandbytes"
        )
    return weight.mT if isinstance(linear, Conv1D) else weight


def _dequantised(linear: nn.Module) -> Tensor:
    try:
        importlib.import_module("bitsandbytes")
    except ImportError as error:
        raise UsageError(
            "Reading quantised weights needs the package bitsandbytes: install it with pip install 'gnomon[quantized]'."
        ) from error
    from transformers.integrations.bitsandbytes import dequantize_bnb_weight

    weight: Any = linear.weight
    dense: Tensor = dequantize_bnb_weight(weight, getattr(linear, "state", None))
    return dense


# -- singular bases ----------------------------------------------------------------------------------------------------


@torch.no_grad()
def output_basis(
    weight: Float[Tensor, "d_out d_in"],
) -> tuple[Float[Tensor, "d_out m"], Float[Tensor, "m"]]:
    """All left singular vectors U and singular values S of a weight, largest first, `m = min(d_out, d_in)`."""
    if weight.shape[0] > weight.shape[1]:
        right, values = _eigen(_gram(weight))
        return orthonormal(as_float64(weight) @ right), values
    return _eigen(_gram(weight.mT))


@torch.no_grad()
def input_basis(
    weight: Float[Tensor, "d_out d_in"], left: Float[Tensor, "d_out r"]
) -> Float[Tensor, "d_in r"]:
    """The right singular vectors V that belong to some left ones (in float64, largest singular value first).

    `W^T U = V diag(S)`, orthonormalised: a singular value of 0 gives some direction orthogonal to the others.
    """
    return orthonormal(as_float64(weight).mT @ as_float64(left))


@torch.no_grad()
def leading_right_vectors(
    matrix: Float[Tensor, "row d"], k: int
) -> tuple[Float[Tensor, "d k"], Float[Tensor, "k"]]:
    """The k leading right singular vectors and singular values of a matrix, fewer where its rank is lower."""
    if matrix.shape[0] < matrix.shape[1]:
        left, values = _eigen(_gram(matrix.mT))
        kept = _numerical_rank(values, k)
        return orthonormal(as_float64(matrix).mT @ left[:, :kept]), values[:kept]
    vectors, values = _eigen(_gram(matrix))
    kept = _numerical_rank(values, k)
    return vectors[:, :kept], values[:kept]


def as_float64(tensor: Tensor) -> Tensor:
    """In float64, on the CPU where the device has none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


def _gram(matrix: Tensor) -> Tensor:
    """`matrix^T matrix` in float64."""
    parts = torch.split(matrix, _ROWS_AT_ONCE)
    total = as_float64(parts[0]).mT @ as_float64(parts[0])
    for part in parts[1:]:
        rows = as_float64(part)
        total.addmm_(rows.mT, rows)
    return total


def _eigen(gram: Tensor) -> tuple[Tensor, Tensor]:
    """Singular vectors and singular values of what the Gram matrix was made of, largest first."""
    squares, vectors = torch.linalg.eigh(gram)
    return vectors.flip(1), squares.flip(0).clamp_min(0).sqrt()


def _numerical_rank(values: Tensor, k: int) -> int:
    """How many of the k largest singular values are not rounding."""
    return min(k, int((values > 1e-6 * values[0]).sum()))


def orthonormal(columns: Tensor) -> Tensor:
    """The columns made orthonormal in their order, each pointing the way it did."""
    basis: Tensor
    basis, triangle = torch.linalg.qr(columns)
    return basis * torch.where(triangle.diagonal() < 0, -1.0, 1.0)


# -- which dimensions an adapter turns ---------------------------------------------------------------------------------


def adapter_dimensions(
    singular_values: Float[Tensor, "m"],
    toward: Float[Tensor, "pair m"],
    away: Float[Tensor, "pair m"],
    rank: int,
) -> Int[Tensor, "rank"]:
    """The singular directions that an adapter of this rank turns, in ascending order.

    Three scores per direction: `S mean|h_toward B|`, `S mean|h_away B|`, `S |mean(h_toward - h_away) B|`. A third of the
    rank each (rounded down) from the top of the first two, the rest from the third; what coincides is filled up by the
    largest of the three. AntiPaSTO (arXiv 2601.07473), "wanda_svd_l1_trip" in its public code.

    Args:
        singular_values: S of the Linear.
        toward: States of the toward rows projected on the singular directions, `h B`.
        away: The same of the away rows.
        rank: How many directions.

    Raises:
        UsageError: The Linear has fewer directions than that.
    """
    if not 1 <= rank <= len(singular_values):
        raise UsageError(
            f"a Linear with {len(singular_values)} singular directions cannot carry an edit of rank {rank}; choose a rank "
            f"from 1 to {len(singular_values)}"
        )
    scores = singular_values * torch.stack(
        [toward.abs().mean(0), away.abs().mean(0), (toward - away).mean(0).abs()]
    )
    ranked = scores.argsort(dim=1, descending=True, stable=True)
    third = rank // 3
    chosen = torch.cat([ranked[0, :third], ranked[1, :third], ranked[2, : rank - 2 * third]])
    best = scores.max(dim=0).values
    best[chosen] = torch.inf
    return best.argsort(descending=True, stable=True)[:rank].sort().values
