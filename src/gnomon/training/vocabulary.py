"""What the objectives read of the next-token distributions, without ever holding the logits of all positions.

The vocabulary is by far the widest dimension of a language model, so everything here goes through the head in chunks and
keeps a few numbers per position. Knows a head (hidden state to logits) and hidden states; knows nothing of models, rows
or edits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

Head = Callable[[Tensor], Tensor]
"""From hidden states `[position, d_model]` to logits `[position, vocabulary]`, each position by itself; softcapping and
whatever else belongs to the logits is inside."""


@runtime_checkable
class DenseHead(Protocol):
    """A head that can give the logits of a part of the vocabulary."""

    @property
    def vocabulary(self) -> int:
        """How many logits a position has."""
        ...

    def __call__(self, hidden: Tensor, /) -> Tensor:
        """All logits."""
        ...

    def part(self, hidden: Tensor, first: int, end: int, /) -> Tensor:
        """The logits of the tokens from `first` to before `end`, `[position, end - first]`."""
        ...

    def own(self, hidden: Tensor, tokens: Tensor, /) -> Tensor:
        """The logit of one token per position, `[position]`."""
        ...


IGNORED = -100
"""The token of a position whose log-probability nobody reads (the `ignore_index` of torch's cross-entropy)."""

BUDGET_BYTES = 2**25
"""Bytes of one chunk's float32 logits; about three tensors of that size are alive at once."""

CACHE_BYTES = 2**22
"""What a CPU's core keeps close: logits of that size are used before they go out to memory."""


@dataclass(frozen=True, eq=False)
class NextTokenTerms:
    """Per position: log p of its token in nats, and the total variation to the reference; 0 where not asked for."""

    log_prob: Float[Tensor, "position"]
    total_variation: Float[Tensor, "position"]


def next_token_terms(
    head: Head,
    hidden: Float[Tensor, "position d_model"],
    tokens: Int[Tensor, "position"],
    *,
    reference: Float[Tensor, "position d_model"] | None = None,
    compared: Bool[Tensor, "position"] | None = None,
    budget_bytes: int = BUDGET_BYTES,
) -> NextTokenTerms:
    """Log-probabilities of given tokens, and total variations to a reference distribution, position by position.

    `log p(token)` and `TV = 1/2 sum_v |p_ref(v) - p(v)|`, where p is the softmax of `head(hidden)` and p_ref that of
    `head(reference)`, in float32 or better. Differentiable in `hidden` only, and once. The derivative of each number by
    its own hidden state, `[position, d_model]`, is computed chunk by chunk in the forward and is all that is kept for
    the backward: nothing is recomputed and no logits are held. Without gradients it is not computed.

    Where only the log-probability is read and the head is a `DenseHead`, the vocabulary is what is cut into parts, so that
    the weight is read once for all positions (the running softmax of Milakov & Gimelshein 2018, arXiv 1805.02867). A total
    variation needs both distributions whole, so there the positions are cut.

    Args:
        head: Hidden states to logits, each position by itself; its weights get no gradient.
        hidden: The hidden states that go into the head.
        tokens: The token whose log-probability is read; `IGNORED` where none is.
        reference: Hidden states that give the reference distributions; None compares nothing.
        compared: Where the total variation is read; None is everywhere. A position that is neither read nor compared
            costs nothing. Where tokens and mask lie on the CPU, nothing waits for the device.
        budget_bytes: How large the float32 logits of a chunk may be.
    """
    arguments = (head, tokens, reference, compared, budget_bytes)
    if torch.is_grad_enabled() and hidden.requires_grad:
        apply: Callable[..., tuple[Tensor, Tensor]] = _Terms.apply
        return NextTokenTerms(*apply(hidden, *arguments))
    log_prob, variation, _, _ = _terms(hidden, *arguments, slopes=False)
    return NextTokenTerms(log_prob, variation)


@torch.no_grad()
def next_token_entropy(
    head: Head, hidden: Float[Tensor, "position d_model"], *, budget_bytes: int = BUDGET_BYTES
) -> Float[Tensor, "position"]:
    """Entropy of each position's next-token distribution, in nats; without gradient."""
    size = _chunk_size(head, hidden, budget_bytes)
    return torch.cat(
        [torch.special.entr(_softmax(head(part))).sum(dim=-1) for part in torch.split(hidden, size)]
    )


class _Terms(torch.autograd.Function):
    """`_terms` as one node of the graph; positions do not mix, so its backward is a product per position."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, *arguments: Any) -> tuple[Tensor, Tensor]:
        log_prob, variation, *slopes = _terms(hidden, *arguments, slopes=True)
        ctx.save_for_backward(*slopes)
        return log_prob, variation

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_log_prob: Tensor, of_variation: Tensor) -> tuple[Tensor | None, ...]:
        by_log_prob, by_variation = ctx.saved_tensors
        gradient = of_log_prob.to(by_log_prob.dtype)[:, None] * by_log_prob
        gradient += of_variation.to(by_variation.dtype)[:, None] * by_variation
        return gradient, None, None, None, None, None


@torch.no_grad()
def _terms(
    hidden: Tensor,
    head: Head,
    tokens: Tensor,
    reference: Tensor | None,
    compared: Tensor | None,
    budget_bytes: int,
    *,
    slopes: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Log-probabilities, total variations, and the derivatives of both by the hidden states (zeros without `slopes`)."""
    log_prob = torch.zeros(len(hidden), dtype=_at_least_float32(hidden), device=hidden.device)
    variation = torch.zeros_like(log_prob)
    by_log_prob, by_variation = torch.zeros_like(hidden), torch.zeros_like(hidden)
    size = _chunk_size(head, hidden, budget_bytes)
    for positions, scored, against in _groups(tokens, reference, compared):
        whole = against is None and isinstance(head, DenseHead)
        for part in torch.split(positions, max(1, len(positions)) if whole else size):
            at = part.to(hidden.device)
            chosen = tokens[part.to(tokens.device)].to(hidden.device) if scored else None
            found: tuple[Tensor | None, ...]
            if against is None and chosen is not None and isinstance(head, DenseHead):
                found = _running_log_prob(head, hidden[at], chosen, budget_bytes, slopes)
            else:
                found = _chunk_terms(
                    head, hidden[at], chosen, None if against is None else against[at], slopes
                )
            for result, piece in zip((log_prob, variation, by_log_prob, by_variation), found, strict=True):
                if piece is not None:
                    result[at] = piece.to(result.dtype)
    return log_prob, variation, by_log_prob, by_variation


def _chunk_terms(
    head: Head, hidden: Tensor, tokens: Tensor | None, reference: Tensor | None, slopes: bool
) -> tuple[Tensor | None, ...]:
    """The four results of `_terms` for one chunk, None for what is not asked; its logits end with the call."""
    log_prob = variation = by_log_prob = by_variation = None
    gap = (
        None if reference is None else _softmax(head(reference))
    )  # first, so that its logits are gone before the others
    with torch.set_grad_enabled(slopes):
        states = hidden.detach().requires_grad_(slopes)
        logits = head(states)
    log_probs = logits.detach().log_softmax(dim=-1, dtype=_at_least_float32(logits))
    if tokens is not None:
        read = (tokens != IGNORED)[:, None]
        place = tokens.clamp_min(0)[:, None]
        log_prob = (log_probs.gather(-1, place) * read).squeeze(-1)
    probs = log_probs.exp_()
    if gap is not None:
        gap.sub_(probs)
        variation = torch.linalg.vector_norm(gap, ord=1, dim=-1) / 2
        if slopes:
            slope = _variation_slope(gap, probs)
            by_variation = _pulled_back(logits, states, slope, again=tokens is not None)
    if tokens is not None and slopes:
        # d log p_t / d z_v = 1[v = t] - p_v
        slope = probs.neg_().scatter_add_(-1, place, torch.ones_like(probs[:, :1]))
        by_log_prob = _pulled_back(logits, states, slope, again=False) * read
    return log_prob, variation, by_log_prob, by_variation


def _running_log_prob(
    head: DenseHead, hidden: Tensor, tokens: Tensor, budget_bytes: int, slopes: bool
) -> tuple[Tensor, None, Tensor | None, None]:
    """The four results of `_terms` where nothing is compared, over parts of the vocabulary.

    Kept from part to part: the largest logit m, `sum_v exp(z_v - m)`, and `sum_v exp(z_v - m) dz_v / dh`.
    """
    if hidden.device.type == "cpu":
        budget_bytes = min(budget_bytes, CACHE_BYTES)
    words = max(1, budget_bytes // (4 * len(hidden)))
    if hidden.device.type == "cpu":
        # Narrower products are slower than what a larger cache saves.
        words = max(words, 1024)
    with torch.set_grad_enabled(slopes):
        states = hidden.detach().requires_grad_(slopes)
        own = head.own(states, tokens)
    dtype = _at_least_float32(own)
    largest = torch.full_like(own, torch.finfo(dtype).min, dtype=dtype).detach()
    total = torch.zeros_like(largest)
    pulled = torch.zeros_like(hidden, dtype=dtype) if slopes else None
    for first in range(0, head.vocabulary, words):
        with torch.set_grad_enabled(slopes):
            logits = head.part(states, first, min(first + words, head.vocabulary))
        values = logits.detach().to(dtype)
        risen = torch.maximum(largest, values.amax(dim=-1))
        shrink = (largest - risen).exp()
        weights = (values - risen[:, None]).exp_()
        total = total * shrink + weights.sum(dim=-1)
        largest = risen
        if pulled is not None:
            pulled.mul_(shrink[:, None]).add_(_pulled_back(logits, states, weights, again=False))
    log_prob = own.detach() - largest - total.log()
    if pulled is None:
        return log_prob, None, None, None
    (of_own,) = torch.autograd.grad(own, states, torch.ones_like(own))
    return log_prob, None, of_own - pulled / total[:, None], None


def _variation_slope(gap: Tensor, probs: Tensor) -> Tensor:
    """d TV / d logits, in the place of `gap = p_ref - p`: `p_v (sum_u s_u p_u - s_v) / 2` with s the signs of the gap."""
    signs = gap.sign_()
    balance = (signs[:, None] @ probs[:, :, None]).squeeze(
        1
    )  # a product, because a sum would need one tensor more
    return signs.neg_().add_(balance).mul_(probs).div_(2)


def _pulled_back(logits: Tensor, states: Tensor, slope: Tensor, *, again: bool) -> Tensor:
    """From a derivative by the logits to the one by the hidden states; `again` keeps the head's graph for another."""
    (pulled,) = torch.autograd.grad(logits, states, slope.to(logits.dtype), retain_graph=again)
    return pulled


def _groups(
    tokens: Tensor, reference: Tensor | None, compared: Tensor | None
) -> Iterator[tuple[Tensor, bool, Tensor | None]]:
    """Positions of which the same is asked: their indices, whether tokens are, and what they are compared with."""
    scored = tokens != IGNORED
    if reference is None:
        compared = torch.zeros_like(scored)
    read = torch.ones_like(scored) if compared is None else compared.to(scored.device)
    both = read.nonzero().squeeze(1)
    if len(both):
        yield both, bool((scored & read).any()), reference
    alone = (scored & ~read).nonzero().squeeze(1)
    if len(alone):
        yield alone, True, None


def _at_least_float32(tensor: Tensor) -> torch.dtype:
    return torch.promote_types(tensor.dtype, torch.float32)


def _softmax(logits: Tensor) -> Tensor:
    return logits.softmax(dim=-1, dtype=_at_least_float32(logits))


def _chunk_size(head: Head, hidden: Tensor, budget_bytes: int) -> int:
    """How many positions' float32 logits fit into the budget, by the width of one position's."""
    vocabulary = head(hidden[:0].detach()).shape[-1]  # no position is enough to see it
    return max(1, budget_bytes // (4 * vocabulary))
