"""Which Linears write to the residual stream: seen in the data flow of one short forward, not listed by name.

Knows an LM's blocks and Linears; knows nothing of edits or of training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gnomon.errors import UsageError

if TYPE_CHECKING:
    from gnomon.lm import LM


@torch.enable_grad()
def residual_writers(lm: LM, first: int, last: int) -> list[str]:
    """Paths of the Linears in blocks `first` to `last` (both included) that write to the residual stream, in order.

    A Linear writes where its output is as wide as the stream and reaches the block's output without passing another
    Linear: o_proj and down_proj of Llama, both c_proj of GPT-2, attention.dense and mlp.dense_4h_to_h of GPT-NeoX; in a
    mixture of experts, whose experts are no Linears, o_proj and a shared expert's down_proj.

    Raises:
        UsageError: There are no such blocks, or none of their Linears writes.
    """
    if not 0 <= first <= last < lm.n_blocks:
        raise UsageError(
            f"blocks {first} to {last} were asked for and {lm.name} has blocks 0 to {lm.n_blocks - 1}; give first <= last"
        )
    linears = lm.linears()
    outputs: dict[nn.Module, Tensor] = {}

    def cut(module: nn.Module, args: Any, output: Tensor) -> Tensor:
        # From here on the output depends on nothing before it, so a path to it passes no other Linear.
        outputs[module] = output.detach().requires_grad_()
        return outputs[module]

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        outputs[module] = output[0] if isinstance(output, tuple) else output

    handles = [linear.register_forward_hook(cut) for linear in linears.values()]
    handles += [block.register_forward_hook(keep) for block in lm.blocks]
    try:
        ids = torch.tensor([[1, 2]], device=lm.device)
        lm.model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, logits_to_keep=1)
    finally:
        for handle in handles:
            handle.remove()
    writers = [
        path
        for block in lm.blocks[first : last + 1]
        for path in _writers_of(block, linears, outputs, lm.d_model)
    ]
    if not writers:
        raise UsageError(
            f"no Linear of blocks {first} to {last} of {lm.name} writes to the residual stream; edit the stream itself"
        )
    return writers


def _writers_of(
    block: nn.Module, linears: dict[str, nn.Module], outputs: dict[nn.Module, Tensor], width: int
) -> list[str]:
    """The candidates of one block whose output its own output depends on."""
    inside = set(block.modules())
    candidates = [
        path
        for path, linear in linears.items()
        if linear in inside and linear in outputs and outputs[linear].shape[-1] == width
    ]
    stream = outputs[block]
    weights = torch.randn(stream.shape, generator=torch.Generator().manual_seed(0)).to(stream)
    slopes = torch.autograd.grad(
        (stream * weights).sum(), [outputs[linears[path]] for path in candidates], allow_unused=True
    )
    return [
        path
        for path, slope in zip(candidates, slopes, strict=True)
        if slope is not None and bool(slope.any())
    ]
