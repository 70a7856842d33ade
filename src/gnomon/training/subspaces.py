"""Subspaces of the residual stream: where a concept lies, what weights write or read, and how such spaces combine.

All of them are float32 bases with orthonormal columns on the CPU, computed in float64. Knows states and weights; knows
nothing of models, layers or losses. Source, unless said otherwise: AntiPaSTO (Clark, arXiv 2601.07473) and its public
code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gnomon.errors import UsageError
from gnomon.training.svd import as_float64, leading_right_vectors, orthonormal

MANY = 256
"""Columns that a space keeps before it is combined with others, as published."""

_SAME = 1e-5  # the sine below which two directions in float32 are one


@dataclass(frozen=True, eq=False)
class Subspace:
    """A subspace: `basis` `[d_model, k]` with orthonormal columns, and the weight of each column, largest first.

    `cosines`: for a union or an intersection, the cosines of all principal angles between the two spaces it was made of.
    """

    basis: Float[Tensor, "d_model k"]
    spectrum: Float[Tensor, "k"]
    cosines: Float[Tensor, "angle"] | None = None

    def __post_init__(self) -> None:
        for name in ("basis", "spectrum", "cosines"):
            tensor = getattr(self, name)
            object.__setattr__(self, name, None if tensor is None else tensor.detach().float().cpu())
        columns = self.basis.shape[1]
        if len(self.spectrum) != columns:
            raise UsageError(f"a basis of {columns} columns needs as many weights, not {len(self.spectrum)}")
        if not torch.allclose(self.basis.mT @ self.basis, torch.eye(columns), atol=1e-4):
            raise UsageError("the basis of a subspace must have orthonormal columns; take its QR first")

    @property
    def rank(self) -> int:
        """How many dimensions."""
        return self.basis.shape[1]

    def leading(self, k: int) -> Subspace:
        """The first k columns; all of them where there are fewer."""
        return Subspace(self.basis[:, :k], self.spectrum[:k], self.cosines)


# -- spaces of states and weights --------------------------------------------------------------------------------------


def task(differences: Float[Tensor, "pair d_model"], k: int = MANY) -> Subspace:
    """Principal directions of the pair differences, uncentred: the direction that all pairs share comes first.

    Each difference is divided by `|d| + 0.01 median|d|`, so that no pair dominates. Spectrum: singular values.
    """
    return _principal(_same_length(differences), k)


def centred_task(differences: Float[Tensor, "pair d_model"], k: int = MANY) -> Subspace:
    """`task` as published: the mean over the pairs is taken away first, and with it the direction that they share."""
    rows = _same_length(differences)
    return _principal(rows - rows.mean(0), k)


def write(output_bases: Sequence[Float[Tensor, "d_model _"]], k: int = MANY) -> Subspace:
    """What Linears write to the residual stream: top eigenvectors of `P = sum_m U_m U_m^T`.

    Each Linear gives its leading output directions (published: 256) and has one vote for each, whatever its singular
    values. Spectrum: eigenvalues of P, the number of votes.
    """
    vectors, values = leading_right_vectors(torch.cat(list(output_bases), dim=1).mT, k)
    return Subspace(vectors, values.square())


def lm_head(weight: Float[Tensor, "vocabulary d_model"], k: int = MANY) -> Subspace:
    """What the head reads: top right singular vectors of its weight, from its `d_model x d_model` Gram matrix."""
    return Subspace(*leading_right_vectors(weight, k))


def not_lm_head(weight: Float[Tensor, "vocabulary d_model"], k: int = MANY) -> Subspace:
    """What the head hardly reads: everything orthogonal to `lm_head(weight, k)`."""
    return complement(lm_head(weight, k))


def suppressed(
    start: Float[Tensor, "pair d_model"],
    last: Float[Tensor, "pair d_model"],
    read: Subspace,
    k: int = MANY,
) -> Subspace:
    """Principal directions of what the blocks change in the stream outside what the head reads, centred, as published.

    `start` is the residual stream at 10 % of the depth and `last` the last hidden state (published: after the final norm).
    The published sum over the blocks telescopes to `last - start`: net change, not what was written and erased again.
    Spectrum: eigenvalues of the covariance.
    """
    change = as_float64(last) - as_float64(start)
    reads = read.basis.to(change)
    change = change - (change @ reads) @ reads.mT
    found = _principal(change - change.mean(0), k)
    return Subspace(found.basis, found.spectrum.square() / max(1, len(change) - 1))


def _same_length(differences: Tensor) -> Tensor:
    rows = as_float64(differences)
    norms: Tensor = torch.linalg.vector_norm(rows, dim=1, keepdim=True)
    return rows / (norms + 0.01 * norms.median()).clamp_min(1e-30)


def _principal(rows: Tensor, k: int) -> Subspace:
    if not bool(rows.abs().max() > 1e-12):
        raise UsageError(
            "the contrast pairs do not differ here, so they span no subspace; read another block"
        )
    return Subspace(*leading_right_vectors(rows, k))


# -- how spaces combine ------------------------------------------------------------------------------------------------


def complement(space: Subspace) -> Subspace:
    """Everything orthogonal to a space, all directions with weight 1.

    Raises:
        UsageError: The space is the whole residual stream.
    """
    if space.rank == len(space.basis):
        raise UsageError(
            f"nothing is orthogonal to a subspace of all {space.rank} dimensions; keep fewer of its directions"
        )
    basis, _ = torch.linalg.qr(space.basis.double(), mode="complete")
    rest = basis[:, space.rank :]
    return Subspace(rest, torch.ones(rest.shape[1]))


def minus(space: Subspace, removed: Subspace) -> Subspace:
    """What is left of a space orthogonal to another; directions that lie in the other (sine below 1e-5) are dropped.

    Spectrum: sines of the principal angles, 1 where a direction was untouched. The public code drops columns and not
    directions, and so may keep arbitrary ones.

    Raises:
        UsageError: Nothing is left.
    """
    basis, other = space.basis.double(), removed.basis.double()
    left, sines, _ = torch.linalg.svd(basis - other @ (other.mT @ basis), full_matrices=False)
    kept = sines > _SAME
    if not bool(kept.any()):
        raise UsageError(
            "nothing is left of a subspace outside the one that was removed; remove fewer directions"
        )
    return Subspace(left[:, kept], sines[kept])


def union(a: Subspace, b: Subspace) -> Subspace:
    """The smallest space that contains both: principal directions of both bases side by side.

    Spectrum: `1 + cos` of a principal angle for what both have, `1 - cos` for what tells them apart, 1 for the rest.
    """
    left, values, _ = torch.linalg.svd(
        torch.cat([a.basis.double(), b.basis.double()], dim=1), full_matrices=False
    )
    kept = values > _SAME
    return Subspace(left[:, kept], values[kept].square(), _cosines(a, b))


def intersection(a: Subspace, b: Subspace, *, least_cosine: float = 0.5) -> Subspace:
    """Where two spaces meet: bisectors of their principal vectors at a cosine above `least_cosine` (at least one pair).

    `V_a^T V_b = sum_i cos_i u_i w_i^T`, direction i is `V_a u_i + V_b w_i`, of unit length. Where the spaces share
    directions (cosine 1) these are theirs, elsewhere they lie between the two. Spectrum: the cosines that were kept.
    """
    overlap = a.basis.double().mT @ b.basis.double()
    u, cosines, w = torch.linalg.svd(overlap, full_matrices=False)
    kept = max(1, int((cosines > least_cosine).sum()))
    return Subspace(_bisectors(a, b, u, w, kept), cosines[:kept], cosines)


def weighted_intersection(a: Subspace, b: Subspace) -> Subspace:
    """`intersection` with each column counted by its weight: `(V_a diag S_a)^T (V_b diag S_b)`, each S summing to 1.

    A direction comes early where both spaces have much weight; none is left out but those without any overlap. Spectrum:
    singular values of the product.
    """
    overlap = a.basis.double().mT @ b.basis.double()
    share_a, share_b = (space.spectrum.double() / space.spectrum.sum() for space in (a, b))
    u, values, w = torch.linalg.svd(share_a[:, None] * overlap * share_b, full_matrices=False)
    kept = max(1, int((values > 1e-6 * values[0]).sum()))
    return Subspace(_bisectors(a, b, u, w, kept), values[:kept], _cosines(a, b))


def _cosines(a: Subspace, b: Subspace) -> Tensor:
    """Cosines of the principal angles, largest first; rounding is kept from exceeding 1."""
    cosines: Tensor = torch.linalg.svdvals(a.basis.double().mT @ b.basis.double())
    return cosines.clamp_max(1)


def _bisectors(a: Subspace, b: Subspace, u: Tensor, w: Tensor, kept: int) -> Tensor:
    """The sums of the paired directions (columns of u, rows of w), made orthonormal in their order."""
    return orthonormal(a.basis.double() @ u[:, :kept] + b.basis.double() @ w[:kept].mT)
