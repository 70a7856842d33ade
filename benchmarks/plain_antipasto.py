"""AntiPaSTO's objective as its text would be coded: three whole forwards per step, full logits, nothing kept or shared.

What `gnomon.training.antipasto` is compared with, for its numbers (tests) and its speed and memory (`training.py`). It
takes the singular bases, the first parameters and the batches from there. Source: Clark, arXiv 2601.07473.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

Pair = tuple[list[int], list[int]]
"""Token ids of the toward and of the away row."""


class PlainAntiPaSTO:
    """The same objective as `AntiPaSTOObjective`, for the same training loop.

    Args:
        model: The transformers model; its weights take no gradient.
        linears: The edited Linears, and for each of them `U` `[d_out, r]`, `V` `[d_in, r]` and `S` `[r]`.
        parameters: `free` `[module, r (r - 1) / 2]` and `dS` `[module, r]`, copied.
        basis: The loss subspace, `[d_model, k]`.
        batches: Pairs of token rows.
        block: The module of the block whose output the projection loss reads.
        terms: Weights and ramps.
        last_tokens: Positions of the projection loss.
        limit_scale: Scale of the limits of the total variation.
    """

    def __init__(
        self,
        model: Any,
        linears: Sequence[nn.Module],
        bases: Sequence[Any],
        parameters: Mapping[str, Tensor],
        basis: Tensor,
        batches: Sequence[Sequence[Pair]],
        *,
        block: nn.Module,
        terms: Any,
        last_tokens: int = 3,
        limit_scale: float = 0.9,
    ) -> None:
        self.model = model
        self.linears = linears
        self.bases = bases
        self.parameters = {
            name: value.detach().clone().requires_grad_() for name, value in parameters.items()
        }
        self.basis = basis.to(model.device)
        self.pairs = batches
        self.block = block
        self.weights = terms
        self.last_tokens = last_tokens
        self.limit_scale = limit_scale
        for weight in model.parameters():
            weight.requires_grad_(False)

    @property
    def batches(self) -> int:
        return len(self.pairs)

    def validation(self) -> Tensor:
        return torch.zeros(())

    def terms(self, batch: int, step: int) -> dict[str, Tensor]:
        toward, away = zip(*self.pairs[batch], strict=True)
        n = len(toward)
        ids, mask = left_padded([*toward, *away], self.model.device)
        with torch.no_grad():
            states_0, logits_0 = self.forward(ids, mask, None)
        states_minus, logits_minus = self.forward(ids, mask, -1.0)
        states_plus, logits_plus = self.forward(ids, mask, +1.0)
        joint = mask[:n] * mask[n:]

        weights = self.weights
        softness = 1 - (1 - weights.softness) * risen(step, weights.focus_steps)
        losses = {"projection": self.projection(states_0, states_plus, states_minus, joint, n, softness)}
        if step >= weights.coherence_steps[0]:
            weight = weights.coherence * risen(step, weights.coherence_steps)
            of_toward = self.coherence(logits_0[:n], logits_plus[:n], joint, weight)
            of_away = self.coherence(logits_0[n:], logits_minus[n:], joint, weight)
            losses["coherence"] = of_toward + of_away
        if step >= weights.monotonic_steps[0]:
            preference = [
                own_log_prob(logits[:n], ids[:n], joint) - own_log_prob(logits[n:], ids[n:], joint)
                for logits in (logits_0, logits_plus, logits_minus)
            ]
            entropy = (entropies(logits_0[:n]) * joint).sum(1) / joint.sum(1)
            threshold = weights.threshold_scale * entropy.sqrt() + weights.threshold_offset
            rise, fall = preference[1] - preference[0], preference[2] - preference[0]
            forward = torch.relu(fall + threshold) + torch.relu(threshold - rise)
            backward = torch.relu(rise + threshold) + torch.relu(threshold - fall)
            barrier = torch.minimum(forward.mean(), backward.mean())
            losses["monotonic"] = weights.monotonic * risen(step, weights.monotonic_steps) * barrier
        return losses

    def projection(
        self,
        states_0: Tensor,
        states_plus: Tensor,
        states_minus: Tensor,
        joint: Tensor,
        n: int,
        softness: float,
    ) -> Tensor:
        last = joint * (joint.flip(1).cumsum(1).flip(1) <= self.last_tokens)
        last = (last / last.sum(1, keepdim=True)).unsqueeze(2)
        gap_0, gap_plus, gap_minus = (
            ((states[:n] - states[n:]) * last).sum(1) for states in (states_0, states_plus, states_minus)
        )
        inside = gap_0 @ self.basis
        change_plus, change_minus = (gap_plus - gap_0) @ self.basis, (gap_minus - gap_0) @ self.basis
        sigma = (inside.var(dim=0, unbiased=n > 1) + 1e-6).sqrt()
        sigma = sigma.clamp(min=max(0.1 * float(sigma.median()) + 1e-6, 0.05))
        if self.weights.projection == "symlog":
            dot = (change_plus / sigma * change_minus / sigma).sum(1)
            return (dot.sign() * torch.log(1 + dot.abs())).mean()
        product = 1.0
        for change, whole in ((change_plus, gap_plus - gap_0), (change_minus, gap_minus - gap_0)):
            v, reference = change / sigma, inside / sigma
            cosine = (v * reference).sum(1) / (
                v.norm(dim=1).clamp(min=1e-6) * reference.norm(dim=1).clamp(min=1e-6)
            )
            focus = (change.norm(dim=1) / whole.norm(dim=1).clamp(min=1e-3)).clamp(1e-6, 1.0)
            product = product * cosine * focus ** (1 - softness)
        z = 30 * product
        return (z + torch.relu(z) ** 2).mean()

    def coherence(self, logits_0: Tensor, logits: Tensor, joint: Tensor, weight: float) -> Tensor:
        before, after = logits_0.softmax(-1), logits.softmax(-1)
        variation = 0.5 * (before - after).abs().sum(-1)
        limit = self.limit_scale * torch.sqrt(entropies(logits_0) + 0.02)
        excess = torch.relu(variation - limit)
        penalty = torch.log(1 + weight * excess) ** 2 + excess
        return ((penalty * joint).sum(1) / joint.sum(1)).mean()

    def forward(self, ids: Tensor, mask: Tensor, alpha: float | None) -> tuple[Tensor, Tensor]:
        """The loss block's output and all logits, float32."""
        with self.edited(alpha):
            output = self.model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=(mask.cumsum(1) - 1).clamp(min=0),
                output_hidden_states=True,
                use_cache=False,
            )
        return self.kept.float(), output.logits.float()

    @contextmanager
    def edited(self, alpha: float | None) -> Iterator[None]:
        def keep(module: nn.Module, args: Any, output: Any) -> None:
            self.kept = output if isinstance(output, Tensor) else output[0]

        def edit(index: int) -> Any:
            base = self.bases[index]
            U, V, S = (tensor.to(self.model.device) for tensor in (base.U, base.V, base.S))
            rotation, stretched = self.rotation(index, alpha), S + alpha * self.parameters["dS"][index]
            return lambda module, args, output: (
                output + ((args[0] @ V @ rotation * stretched - args[0] @ V * S) @ U.mT).to(output.dtype)
            )

        handles = [self.block.register_forward_hook(keep)]
        if alpha is not None:
            handles += [
                linear.register_forward_hook(edit(index)) for index, linear in enumerate(self.linears)
            ]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def rotation(self, index: int, alpha: float) -> Tensor:
        """Cayley's transform of the softly clamped skew matrix of one module."""
        free = self.parameters["free"][index]
        rank = self.bases[index].S.shape[0]
        rows, columns = torch.triu_indices(rank, rank, offset=1)
        upper = torch.zeros(rank, rank, device=free.device)
        upper[rows, columns] = free
        P = upper - upper.mT
        bound = 2 * torch.tan(torch.tensor(torch.pi / 8))
        A = bound * torch.tanh((P - P.mT) / bound)
        eye = torch.eye(rank, device=free.device)
        return torch.linalg.solve(eye - alpha * A / 2, eye + alpha * A / 2)


def left_padded(rows: Sequence[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    width = max(map(len, rows))
    ids = torch.tensor([[0] * (width - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def own_log_prob(logits: Tensor, ids: Tensor, joint: Tensor) -> Tensor:
    """Mean log-probability of each row's own tokens, where the token and the one before it are joint positions."""
    log_probs = logits.log_softmax(-1)[:, :-1].gather(2, ids[:, 1:, None]).squeeze(2)
    both = joint[:, 1:] * joint[:, :-1]
    return (log_probs * both).sum(1) / both.sum(1).clamp(min=1)


def entropies(logits: Tensor) -> Tensor:
    log_probs = logits.log_softmax(-1)
    return -(log_probs.exp() * log_probs).sum(-1)


def risen(step: int, steps: tuple[float, float]) -> float:
    begin, end = steps
    return float(step >= begin) if begin == end else min(1.0, max(0.0, (step - begin) / (end - begin)))
