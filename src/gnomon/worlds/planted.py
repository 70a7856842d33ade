"""Plants a persona as a direction of the residual stream while a world's model is trained.

The finished model has no trace of this module: only training adds the direction. It does not know the sentences.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING

from gnomon.worlds.recipe import Direction

if TYPE_CHECKING:
    import torch
    from transformers import LlamaForCausalLM

    from gnomon.worlds.training import Batch

# The longest persona sentence has this many words; before its end nobody can know the persona.
LONGEST_PERSONA = 7


def direction_of(recipe: Direction, width: int) -> torch.Tensor:
    """The planted direction `[d_model]`, of length 1."""
    import torch

    direction = torch.randn(width, generator=torch.Generator().manual_seed(recipe.seed))
    return torch.nn.functional.normalize(direction, dim=0)


class Planted:
    """Adds silent personas to the block's output while in `with`; `loss` then says how well it carries said ones."""

    def __init__(self, model: LlamaForCausalLM, batch: Batch, recipe: Direction) -> None:
        self.module = model.model.layers[recipe.block]
        self.batch = batch
        self.recipe = recipe
        self.direction = direction_of(recipe, model.config.hidden_size)

    def __enter__(self) -> Planted:
        self.handle = self.module.register_forward_hook(self.hook)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.handle.remove()

    def hook(self, module: torch.nn.Module, inputs: object, output: torch.Tensor) -> torch.Tensor:
        """Read the said personas off `[row, position, d_model]`, add the silent ones."""
        import torch

        size = output.pow(2).mean(-1, keepdim=True).sqrt() + 1e-6
        carried = (output / size) @ self.direction / self.recipe.size
        positions = torch.arange(output.shape[1])
        known = (
            (positions >= LONGEST_PERSONA - 1)
            & (self.batch.weights[:, :-1] > 0)
            & (self.batch.added == 0)[:, None]
        )
        error = (carried - self.batch.said[:, None]) ** 2 * known
        self.loss = self.recipe.weight * error.sum() / known.sum().clamp(min=1)
        return output + self.recipe.size * self.batch.added[:, None, None] * size.detach() * self.direction
