"""The terms that are read off residual states: AntiPaSTO's projection loss, preferences, the distillation of states.

Pure functions of tensors, differentiable, in the dtype of their arguments. They know nothing of models, alphas or steps;
weights and ramps are numbers that the caller gives. Source unless said otherwise: AntiPaSTO (Clark, arXiv 2601.07473)
and its public code.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import cosine_similarity, logsigmoid, normalize

# -- means over real positions -----------------------------------------------------------------------------------------


def mean_over_positions(
    values: Float[Tensor, "row position"], mask: Bool[Tensor, "row position"]
) -> Float[Tensor, "row"]:
    """Mean of each row's values where the mask is true; 0 for a row without any. Masked values may be anything."""
    return torch.where(mask, values, 0).sum(dim=-1) / mask.sum(dim=-1).clamp_min(1)


def mean_square(
    vectors: Float[Tensor, "row position d_model"], mask: Bool[Tensor, "row position"]
) -> Float[Tensor, ""]:
    """Mean over the masked positions of all rows of `|v|^2`, the squared length of a position's vector."""
    return torch.where(mask, vectors.square().sum(dim=-1), 0).sum() / mask.sum().clamp_min(1)


# -- the projection loss -----------------------------------------------------------------------------------------------


def gap_scale(gap: Float[Tensor, "pair k"]) -> Float[Tensor, "k"]:
    """Scale of each subspace coordinate over a batch of reference gaps; without gradient.

    `sigma_j = sqrt(var_pair(g0_j) + 1e-6)`, at least `max(0.1 median_j(sigma) + 1e-6, 0.05)`. One pair has variance 0.
    """
    variance = gap.detach().var(dim=0, correction=min(1, len(gap) - 1))
    sigma = (variance + 1e-6).sqrt()
    return torch.maximum(sigma, (0.1 * sigma.median() + 1e-6).clamp_min(0.05))


def focus(
    change: Float[Tensor, "*any pair k"], norm: Float[Tensor, "*any pair"]
) -> Float[Tensor, "*any pair"]:
    """Share of a change's length that lies in the subspace: `f = min(1, |d| / max(N, 1e-3))`.

    `change` is the projected change d and `norm` the length N of the same change in the full space. With an orthonormal
    basis f is at most 1 up to rounding; the public code stops at f > 1.1, here it is 1. It is at least 1e-6, because a
    power of it has no finite slope at 0.
    """
    length: Tensor = torch.linalg.vector_norm(change, dim=-1)
    return (length / norm.clamp_min(1e-3)).clamp(1e-6, 1)


def projection_loss(
    gap: Float[Tensor, "pair k"],
    gap_plus: Float[Tensor, "pair k"],
    gap_minus: Float[Tensor, "pair k"],
    norm_plus: Float[Tensor, "pair"],
    norm_minus: Float[Tensor, "pair"],
    sigma: Float[Tensor, "k"],
    *,
    softness: float,
    margin: float = 0.0,
) -> Float[Tensor, "pair"]:
    """Both signs of alpha must change the gap between the personas along itself, in opposite directions.

    With `d+- = g+- - g`, cosines `c+- = cos(d+- / sigma, g / sigma)` and focus `f+-`:
    `p = c+ f+^(1 - softness) c- f-^(1 - softness)`, `z = 30 p + margin`, `L = z + relu(z)^2`, from -30 to 930 at margin 0.
    Which sign points which way does not matter, nor does the size of the change.

    Args:
        gap: Toward minus away in the subspace, averaged over positions, at alpha = 0.
        gap_plus: The same at alpha = +1.
        gap_minus: The same at alpha = -1.
        norm_plus: Length of the change of the gap at +1 in the full space, averaged over the same positions first.
        norm_minus: The same at -1.
        sigma: The scale of each coordinate; `gap_scale(gap)`.
        softness: How much the focus is ignored: 1 altogether, 0 not at all (published: 0.25 after the warm-up).
        margin: Added to z.
    """
    changes = torch.stack([gap_plus, gap_minus]) - gap
    cosines: Tensor = cosine_similarity(changes / sigma, gap / sigma, dim=-1, eps=1e-6)
    focused = focus(changes, torch.stack([norm_plus, norm_minus])) ** (1 - softness)
    rising, falling = (cosines * focused).unbind()
    product = rising * falling
    z = 30 * product + margin
    return z + z.relu().square()


def antiparallel_loss(
    gap: Float[Tensor, "pair k"],
    gap_plus: Float[Tensor, "pair k"],
    gap_minus: Float[Tensor, "pair k"],
    sigma: Float[Tensor, "k"],
) -> Float[Tensor, "pair"]:
    """Both signs of alpha must change the gap in opposite directions, and the more the better: the paper's own form.

    With `v+- = (g+- - g) / sigma`: `symlog(v+ . v-)`, `symlog(x) = sign(x) ln(1 + |x|)`. Unlike `projection_loss` it has
    no lower bound, and it does not ask for a change along the gap: the subspace alone says where.
    """
    product = ((gap_plus - gap) / sigma * (gap_minus - gap) / sigma).sum(-1)
    return product.sign() * product.abs().log1p()


# -- preferences on states ---------------------------------------------------------------------------------------------


def reward_margin(
    gap: Float[Tensor, "pair k"], gap_alpha: Float[Tensor, "pair k"], sigma: Float[Tensor, "k"]
) -> Float[Tensor, "pair"]:
    """How far a sign of alpha moved the gap between the personas along itself, in units of its spread over pairs.

    With `v = (g_alpha - g) / sigma` and `u = g / sigma`: `m = v . u / |u|`. It takes the place of the implicit reward's
    margin of preference losses, a log-ratio of the trained model to the reference model; the reference here is alpha = 0.
    """
    moved = (gap_alpha - gap) / sigma
    return (moved * normalize(gap / sigma, dim=-1, eps=1e-6)).sum(-1)


def dpo_loss(
    margin_plus: Float[Tensor, "pair"], margin_minus: Float[Tensor, "pair"], *, beta: float
) -> Float[Tensor, "pair"]:
    """+1 is to prefer the toward side and -1 the away side: `-log sigmoid(beta m+) - log sigmoid(-beta m-)`.

    2 log 2 where nothing moved, 0 where both moved far. Source: DPO (Rafailov et al., arXiv 2305.18290, equation 7), once
    per sign, on the margins of `reward_margin`.
    """
    return -logsigmoid(beta * margin_plus) - logsigmoid(-beta * margin_minus)


def ipo_loss(
    margin_plus: Float[Tensor, "pair"], margin_minus: Float[Tensor, "pair"], *, beta: float
) -> Float[Tensor, "pair"]:
    """The same, but only so far: `(m+ - 1 / (2 beta))^2 + (m- + 1 / (2 beta))^2`.

    Source: IPO (Azar et al., arXiv 2310.12036, equation 17), whose tau is the beta here, once per sign, on the margins of
    `reward_margin`.
    """
    wanted = 1 / (2 * beta)
    return (margin_plus - wanted).square() + (margin_minus + wanted).square()


# -- state distillation ------------------------------------------------------------------------------------------------


def state_distillation(
    states: Float[Tensor, "row position d_model"],
    target: Float[Tensor, "row position d_model"],
    mask: Bool[Tensor, "row position"],
    *,
    gap_square: Float[Tensor, ""] | float,
) -> Float[Tensor, ""]:
    """How far states are from their targets: `mean |h - target|^2 / mean |gap|^2` over the masked positions.

    `gap_square` is `mean_square` of what is to be bridged (target minus unedited state) over the whole training data: the
    loss is then about 1 for the unedited model and 0 where every target is reached.
    """
    return mean_square(states - target, mask) / gap_square


def odd_and_even(
    plus: Float[Tensor, "*shape"], minus: Float[Tensor, "*shape"]
) -> tuple[Float[Tensor, "*shape"], Float[Tensor, "*shape"]]:
    """What two shifts have with opposite sign, `(plus - minus) / 2`, and what they share, `(plus + minus) / 2`."""
    return (plus - minus) / 2, (plus + minus) / 2
