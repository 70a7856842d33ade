"""From the last block's output to logits: the final norm, the output embeddings, and what is done to their result.

Found by following one probe forward of the model, and checked on it; nothing is listed per family.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import linear

from gnomon.errors import UsageError
from gnomon.lm.blocks import text_config

if TYPE_CHECKING:
    from gnomon.lm.model import LM


@dataclass(frozen=True, eq=False)
class Head:
    """What a model does behind its blocks, position by position; differentiable.

    Attributes:
        norms: What the last block's output goes through, in order (the final norm; a projection, where there is one).
        embeddings: The output embeddings, a Linear; its input is the head's input.
        scale: What its output is multiplied by.
        cap: Where not None, the scaled output z becomes cap * tanh(z / cap).
    """

    norms: tuple[nn.Module, ...]
    embeddings: nn.Module
    scale: float
    cap: float | None

    @classmethod
    @torch.no_grad()
    def find(cls, lm: LM) -> Head:
        """Find a model's head by one short forward.

        Raises:
            UsageError: What happens behind the blocks is not one of these steps.
        """
        embeddings = lm.model.get_output_embeddings()
        if embeddings is None:
            raise UsageError(
                f"{lm.name} has no output embeddings, so its logits cannot be computed from its states."
            )
        last, calls, logits = _probe(lm)
        given, gave = next((x, y) for module, x, y in reversed(calls) if module is embeddings)
        norms: list[nn.Module] = []
        wanted = given
        for module, x, y in reversed(calls):
            if module is not embeddings and not _same(wanted, last) and _same(y, wanted):
                norms.insert(0, module)
                wanted = x
        if not _same(wanted, last):
            raise UsageError(
                f"The way from the last block of {lm.name} to its output embeddings is not a chain of modules, so its "
                "logits cannot be computed from its states."
            )
        cap = getattr(text_config(lm.model), "final_logit_softcapping", None)
        ratio = float((logits.float() * gave.float()).sum() / gave.float().square().sum())
        for scale, softly in ((1.0, cap), (ratio, None)):
            for kind in (DenseHead, Head) if _dense(embeddings) else (Head,):
                head = kind(tuple(norms), embeddings, scale, softly)
                if close(head.logits(head.norm(last)), logits):
                    return head
        raise UsageError(
            f"The logits of {lm.name} are not its output embeddings' scaled or softly capped result, so they cannot be "
            "computed from its states."
        )

    def norm(self, states: Float[Tensor, "*any d_model"]) -> Float[Tensor, "*any d_head"]:
        """The head's input, from the last block's output."""
        for module in self.norms:
            states = module(states)
        return states

    def logits(self, normed: Float[Tensor, "*any d_head"]) -> Float[Tensor, "*any vocabulary"]:
        """The model's logits, from the head's input."""
        logits: Tensor = self.embeddings(normed)
        return self._finished(logits)

    def __call__(self, normed: Float[Tensor, "*any d_head"]) -> Float[Tensor, "*any vocabulary"]:
        """`logits`, for those who only know a function."""
        return self.logits(normed)

    def _finished(self, logits: Tensor) -> Tensor:
        """What is done to the output embeddings' result."""
        if self.scale != 1:
            logits = logits * self.scale
        return logits if self.cap is None else torch.tanh(logits / self.cap) * self.cap


class DenseHead(Head):
    """A head whose output embeddings are a plain matrix, so that a part of the vocabulary can be computed alone."""

    @property
    def vocabulary(self) -> int:
        """How many logits a position has."""
        return len(self._weight)

    @property
    def _weight(self) -> Tensor:
        embeddings: Any = self.embeddings
        weight: Tensor = embeddings.weight
        return weight

    @property
    def _bias(self) -> Tensor | None:
        embeddings: Any = self.embeddings
        bias: Tensor | None = embeddings.bias
        return bias

    def logits(self, normed: Float[Tensor, "*any d_head"]) -> Float[Tensor, "*any vocabulary"]:
        """The model's logits, from the head's input."""
        return self.part(normed, 0, self.vocabulary)

    def part(self, normed: Float[Tensor, "*any d_head"], first: int, end: int) -> Float[Tensor, "*any word"]:
        """The logits of the tokens from `first` to before `end`."""
        bias = None if self._bias is None else self._bias[first:end]
        return self._finished(linear(normed, self._weight[first:end], bias))

    def own(
        self, normed: Float[Tensor, "position d_head"], tokens: Int[Tensor, "position"]
    ) -> Float[Tensor, "position"]:
        """The logit of one token per position."""
        logits = (normed * self._weight[tokens]).sum(-1)
        return self._finished(logits if self._bias is None else logits + self._bias[tokens])


def _dense(embeddings: nn.Module) -> bool:
    """Whether the weight is a matrix in memory that is used as it is: not quantised, offloaded or wrapped."""
    return (
        type(embeddings) is nn.Linear
        and embeddings.weight.is_floating_point()
        and not embeddings.weight.is_meta
    )


def close(actual: Tensor, expected: Tensor) -> bool:
    """Whether two results agree to half of their dtype's digits, measured by the largest value."""
    tolerance = torch.finfo(expected.dtype).eps ** 0.5
    actual, expected = actual.float(), expected.float().to(actual.device)
    return bool((actual - expected).abs().max() <= tolerance * expected.abs().max())


def hidden_of(output: Any) -> Tensor:
    """The residual stream in what a block returns, which in some families is a tuple that begins with it."""
    hidden: Tensor = output if isinstance(output, Tensor) else output[0]
    return hidden


def _same(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.equal(a, b.to(a.device))


def _probe(lm: LM) -> tuple[Tensor, list[tuple[nn.Module, Tensor, Tensor]], Tensor]:
    """The last block's output, what every module behind it was given and gave, and the logits, for a few tokens."""
    last: list[Tensor] = []
    calls: list[tuple[nn.Module, Tensor, Tensor]] = []

    def end_of_blocks(module: nn.Module, args: Any, output: Any) -> None:
        last.append(hidden_of(output))

    def behind(module: nn.Module, args: Any, output: Any) -> None:
        if last and args and isinstance(args[0], Tensor) and isinstance(output, Tensor):
            calls.append((module, args[0], output))

    inside = {module for block in lm.blocks for module in block.modules()}
    handles = [lm.blocks[-1].register_forward_hook(end_of_blocks)]
    handles += [module.register_forward_hook(behind) for module in lm.model.modules() if module not in inside]
    # Which tokens does not matter; the first few of a vocabulary are plain text or control tokens, never images.
    tokens = torch.arange(min(8, lm.vocabulary), device=lm.device).unsqueeze(0)
    try:
        logits = lm.model(input_ids=tokens, attention_mask=torch.ones_like(tokens), use_cache=False).logits
    finally:
        for handle in handles:
            handle.remove()
    return last[0], calls, logits
