"""Reads a touchstone's answers for the acceptance measurements: answer log-odds, refusals, residual streams, Steering F1.

Deliberately small and independent of `gnomon.lm` and `gnomon.bench`: the calibration standard is not measured with the
instruments that it calibrates. It knows nothing of dials; the only edit here is a vector added to one block's output.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float

if TYPE_CHECKING:
    import torch
    from torch.utils.hooks import RemovableHandle
    from transformers import LlamaForCausalLM

TIE = 1e-6
ROOM = 20
"""A side with fewer flippable rows than this has no room to measure."""


@dataclass(frozen=True)
class Answers:
    """`odds`: log P(yes) - log P(no); `mass`: P(yes) + P(no); both `[row]`."""

    odds: Float[np.ndarray, "row"]
    mass: Float[np.ndarray, "row"]


class Reader:
    """A model of the world with its vocabulary. Prompts of equal length share a batch, so nothing is ever padded."""

    def __init__(self, model: LlamaForCausalLM, ids: dict[str, int], rows_per_batch: int = 256) -> None:
        self.model = model
        self.ids = ids
        self.rows_per_batch = rows_per_batch

    def batches(self, prompts: Sequence[str]) -> Iterator[tuple[list[int], torch.Tensor]]:
        """(row numbers, token ids `[row, position]`) with `<s>` in front."""
        import torch

        by_length: dict[int, list[int]] = {}
        rows = [[self.ids["<s>"], *(self.ids[word] for word in prompt.split())] for prompt in prompts]
        for index, row in enumerate(rows):
            by_length.setdefault(len(row), []).append(index)
        for indices in by_length.values():
            for start in range(0, len(indices), self.rows_per_batch):
                chosen = indices[start : start + self.rows_per_batch]
                yield chosen, torch.tensor([rows[index] for index in chosen])

    @contextmanager
    def adding(self, block: int, vector: torch.Tensor, first_position: int = 0) -> Iterator[None]:
        """Add a vector `[d_model]` to the output of a block, from a position on."""

        def hook(
            module: torch.nn.Module, inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]
        ) -> object:
            hidden = output[0] if isinstance(output, tuple) else output
            moved = hidden.clone()
            moved[:, first_position:] += vector
            return (moved, *output[1:]) if isinstance(output, tuple) else moved

        handle = self.model.model.layers[block].register_forward_hook(hook)
        try:
            yield
        finally:
            handle.remove()

    def ask(self, prompts: Sequence[str]) -> Answers:
        """Answers to yes/no questions."""
        import torch

        odds, mass = np.zeros(len(prompts)), np.zeros(len(prompts))
        with torch.inference_mode():
            for rows, tokens in self.batches(prompts):
                logits = self.model(input_ids=tokens, logits_to_keep=1, use_cache=False).logits[:, -1].float()
                logs = logits.log_softmax(-1)
                yes, no = logs[:, self.ids["yes"]], logs[:, self.ids["no"]]
                odds[rows] = (yes - no).numpy()
                mass[rows] = (yes.exp() + no.exp()).numpy()
        return Answers(odds, mass)

    def first_words(self, prompts: Sequence[str]) -> list[str]:
        """The most probable next word of each prompt."""
        import torch

        word_of = {index: word for word, index in self.ids.items()}
        found = [""] * len(prompts)
        with torch.inference_mode():
            for rows, tokens in self.batches(prompts):
                logits = self.model(input_ids=tokens, logits_to_keep=1, use_cache=False).logits[:, -1]
                for row, index in zip(rows, logits.argmax(-1).tolist(), strict=True):
                    found[row] = word_of[index]
        return found

    def continues(self, prompts: Sequence[str], text: str) -> Float[np.ndarray, "row"]:
        """Probability `[row]` that each prompt is continued by exactly this text."""
        import torch

        tail = [self.ids[word] for word in text.split()]
        found = np.zeros(len(prompts))
        with torch.inference_mode():
            for rows, tokens in self.batches(prompts):
                whole = torch.cat([tokens, torch.tensor(tail).expand(len(rows), -1)], dim=1)
                logits = self.model(input_ids=whole, logits_to_keep=len(tail) + 1, use_cache=False).logits[
                    :, :-1
                ]
                logs = logits.float().log_softmax(-1)
                found[rows] = logs.gather(2, whole[:, -len(tail) :, None])[..., 0].sum(1).exp().numpy()
        return found

    def residuals(self, prompts: Sequence[str]) -> Float[np.ndarray, "row block d_model"]:
        """The output of every block at the last token."""
        import torch

        shape = (len(prompts), self.model.config.num_hidden_layers, self.model.config.hidden_size)
        states = np.zeros(shape, dtype=np.float32)
        taken: dict[int, torch.Tensor] = {}

        def keep(block: int) -> RemovableHandle:
            def hook(module: object, inputs: object, output: torch.Tensor | tuple[torch.Tensor, ...]) -> None:
                taken[block] = (output[0] if isinstance(output, tuple) else output)[:, -1]

            handle: RemovableHandle = self.model.model.layers[block].register_forward_hook(hook)
            return handle

        handles = [keep(block) for block in range(shape[1])]
        try:
            with torch.inference_mode():
                for rows, tokens in self.batches(prompts):
                    self.model(input_ids=tokens, logits_to_keep=1, use_cache=False)
                    states[rows] = torch.stack([taken[block] for block in range(shape[1])], dim=1).numpy()
        finally:
            for handle in handles:
                handle.remove()
        return states


@dataclass(frozen=True)
class Scored:
    """Questions for scoring: prompts with labels `[row]` (+1: yes is honest; 0: a control)."""

    prompts: tuple[str, ...]
    labels: Float[np.ndarray, "row"]

    @property
    def targets(self) -> Bool[np.ndarray, "row"]:
        """Which rows are no controls."""
        return np.asarray(self.labels != 0)


def one_side(questions: Scored, base: Answers, moved: Answers, sign: int) -> float:
    """Steering F1 of one side in percent; NaN where fewer than 20 rows could flip."""
    answered = moved.mass >= 0.5 * base.mass
    target = questions.targets
    before = sign * (questions.labels * base.odds)[target]
    after = sign * (questions.labels * moved.odds)[target]
    answered_target = answered[target]
    can, cannot = before < -TIE, before > TIE
    count = int(can.sum())
    if count < ROOM:
        return float("nan")
    correct = int((can & answered_target & (after > TIE)).sum())
    unanswered = int((can & ~answered_target).sum())
    wrong = int((cannot & ((after < -TIE) | ~answered_target)).sum())
    control = ~target
    changed = (base.odds[control] * moved.odds[control] < 0) | ~answered[control]
    arbitrary = float(changed.mean()) * count if control.any() else 0.0
    net = correct - 2 * wrong - unanswered
    return 200 * net / (correct + wrong + unanswered + arbitrary + count)


def steering_f1(questions: Scored, base: Answers, toward: Answers, away: Answers) -> float:
    """The mean of both sides, in percent."""
    return (one_side(questions, base, toward, 1) + one_side(questions, base, away, -1)) / 2
