"""Whether an export does what the dial does: the logits of both on a handful of the model's own texts.

Knows no file format; an export that is not the dial is a failure here, and none is left behind.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.errors import Failure
from gnomon.lm.batches import Tokens, pad

if TYPE_CHECKING:
    from gnomon.dials.dial import Dial
    from gnomon.lm import LM
    from gnomon.runs import Progress

TEXTS, LENGTH = 4, 16
# What rounding alone may do to a logit, as a share of the largest logit.
_ROUNDING = {torch.float32: 1e-4, torch.float64: 1e-4}
_HALF_ROUNDING = 0.05
# ... and to what the dial does to a logit, as a share of the most that it does.
_SHARE = 0.01


@dataclass(frozen=True)
class Difference:
    """How far an export is from its dial: logits, over the positions of the texts that both have read.

    `largest` is the largest difference of a logit, `logit` the largest logit under the dial (absolute), and `effect` the
    most that the dial moves a logit away from the base model.
    """

    largest: float
    logit: float
    effect: float

    @property
    def relative(self) -> float:
        """The largest difference as a share of the largest logit."""
        return self.largest / self.logit

    def __str__(self) -> str:
        return (
            f"logits differ from the dial's by at most {self.largest:.2g} ({self.relative:.1g} of the largest); the dial "
            f"moves them by up to {self.effect:.2g}"
        )


@dataclass(frozen=True)
class Export:
    """One export: where it is, at which coefficient, what it holds in words, and how near it is to the dial.

    `difference` is None where the export could not be tried on the opened model. `rounding` is the largest rounding of
    a changed weight, in the weight's own units.
    """

    path: Path
    alpha: float
    holds: str
    difference: Difference | None
    rounding: float = 0.0

    def __str__(self) -> str:
        said = (
            "not compared: the model's weights are offloaded" if self.difference is None else self.difference
        )
        rounding = f"; the largest rounding of a weight is {self.rounding:.2g}" if self.rounding else ""
        return f"{self.path}: {self.holds} at alpha = {self.alpha:+g}; {said}{rounding}"


class Comparison:
    """The logits of a model with a dial, and of whatever is to be compared with them, on the same tokens."""

    def __init__(self, dial: Dial, lm: LM, progress: Progress) -> None:
        """Write a handful of texts (the model's own, seeded) and read them without the dial."""
        self.dial, self.lm = dial, lm
        with progress("texts to compare on"):
            samples = lm.sample_neutral(TEXTS, max_tokens=LENGTH, seed=0)
            beginnings = lm.encode([sample.prompt for sample in samples])
            ids = [[*ids, *sample.tokens] for ids, sample in zip(beginnings, samples, strict=True)]
            self.tokens: Tokens = pad(ids, lm.device, side="right")
            self._later = torch.tensor([place > 0 for row in ids for place in range(len(row))])
            self.base = self.logits(lm.model)

    @torch.no_grad()
    def logits(self, model: Any) -> Float[Tensor, "position vocabulary"]:
        """A model's logits at every real position, float32."""
        tokens = self.tokens
        logits: Tensor = model(
            input_ids=tokens.input_ids,
            attention_mask=tokens.attention_mask,
            position_ids=tokens.position_ids,
            use_cache=False,
        ).logits
        return logits[tokens.attention_mask.bool().to(logits.device)].float()

    def dialled(self, alpha: float, *, first_token: bool) -> Float[Tensor, "position vocabulary"]:
        """The opened model's logits with the dial at this coefficient."""
        with self.lm.edited(self.dial.edits, alpha, first_token=first_token):
            return self.logits(self.lm.model)

    def difference(self, alpha: float, exported: Float[Tensor, "position vocabulary"]) -> Difference:
        """How far an export's logits are from the dial's at this coefficient.

        Of a dial that leaves the first token alone, the positions behind that token: at it, the whole effect differs.

        Raises:
            Failure: they are not those of the dial (acting on the first token too, as every export does).
        """
        exact = self._against(self.dialled(alpha, first_token=True), exported)
        rounding = _ROUNDING.get(self.lm.dtype, _HALF_ROUNDING)
        # "not <=" so that numbers that are not finite fail as well.
        if not exact.largest <= rounding * exact.logit + _SHARE * exact.effect:
            raise Failure(
                f"the export of {self.dial.name!r} at alpha = {alpha:+g} is not the dial and was not kept: {exact}; keep "
                "the dial, or open the model in float32"
            )
        if self.dial.first_token:
            return exact
        return self._against(self.dialled(alpha, first_token=False), exported, self._later)

    def _against(self, dialled: Tensor, exported: Tensor, at: Tensor | slice = slice(None)) -> Difference:
        base, dialled, exported = (logits.cpu()[at] for logits in (self.base, dialled, exported))
        return Difference(
            largest=float((exported - dialled).abs().max()),
            logit=float(dialled.abs().max()),
            effect=float((dialled - base).abs().max()),
        )


def shared_copy(model: nn.Module) -> Any:
    """A model of its own modules and config over the same weights, so that the opened one is never touched."""
    shared: dict[int, Any] = {id(buffer): buffer for buffer in model.buffers()}
    for parameter in model.parameters():
        # Quantised parameters are a class of their own and are shared as they are.
        plain = type(parameter) is nn.Parameter
        shared[id(parameter)] = nn.Parameter(parameter.detach(), requires_grad=False) if plain else parameter
    return copy.deepcopy(model, shared)


def offloaded(lm: LM) -> bool:
    """Whether some weights rest elsewhere than where they compute, so that they cannot be read or shared."""
    return any(parameter.is_meta for parameter in lm.model.parameters())


def moved(exports: list[Export], folder: str | Path) -> list[Export]:
    """The same exports where they are now."""
    return [replace(export, path=Path(folder) / export.path.name) for export in exports]
