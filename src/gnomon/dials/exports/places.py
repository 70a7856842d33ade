"""Where a vector on the residual stream can stand as a bias of a Linear.

That is so where the Linear's output is added to the stream as it is, which is measured on the opened model and never
guessed from its family: a norm or a scale behind the Linear, or anything in the block that reads its output, shows as a
block output that moves otherwise than by the bias.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.dials.exports.comparing import Comparison
from gnomon.errors import UsageError
from gnomon.lm.blocks import text_config

if TYPE_CHECKING:
    from gnomon.lm import LM
    from gnomon.lm.edits import Delta


@dataclass(frozen=True)
class Place:
    """A Linear whose bias is added to a block's output as it is; `option` is the config's name for giving it one."""

    path: str
    option: str | None


def find_place(comparison: Comparison, block: int) -> Place:
    """Where a vector at the output of `block` can stand as a bias; a Linear that has one already is taken first.

    Raises:
        UsageError: there is no such Linear, or it has no bias and the model's config no option for one.
    """
    lm = comparison.lm
    added = [path for path in _writers(lm, block) if _added_as_it_is(comparison, block, path)]
    if not added:
        raise UsageError(
            f"no Linear of block {block} of {lm.name} is added to the residual stream as it is, so no bias is the vector "
            "of this dial; keep the dial, or take gguf for a dial of vectors"
        )
    for path in added:
        if lm.model.get_submodule(path).bias is not None:
            return Place(path, None)
    for path in added:
        option = _option_for(lm.model, path)
        if option is not None:
            return Place(path, option)
    raise UsageError(
        f"{added[0]} of {lm.name} has no bias and the config of {text_config(lm.model).model_type} no option that gives "
        "it one, so no checkpoint holds this dial; keep the dial, or take gguf for a dial of vectors"
    )


def add_bias(model: Any, place: Place, constant: Float[Tensor, "d_model"]) -> float:
    """Add a constant to the bias at a place and return its largest rounding; biases made elsewhere by the option are 0."""
    if place.option is not None and not getattr(text_config(model), place.option):
        for path in _made_by(model, place.option):
            linear = model.get_submodule(path)
            linear.bias = nn.Parameter(linear.weight.new_zeros(_width(linear)), requires_grad=False)
        setattr(text_config(model), place.option, True)
    linear = model.get_submodule(place.path)
    whole = linear.bias.detach().float() + constant.to(linear.bias.device)
    linear.bias = nn.Parameter(whole.to(linear.bias.dtype), requires_grad=False)
    return float((linear.bias.float() - whole).abs().max())


# -- measured on the opened model --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Constant:
    """An edit for one measurement: adds a constant to a module's output."""

    module: nn.Module
    constant: Tensor

    def deltas(self, lm: LM, alpha: float) -> Iterable[tuple[nn.Module, Delta]]:
        return [(self.module, lambda _: self.constant)]

    def prefix(self, alpha: float) -> None:
        return None


def _writers(lm: LM, block: int) -> list[str]:
    """The paths of the Linears of a block that are as wide as the residual stream, last first."""
    inside = {id(module) for module in lm.blocks[block].modules()}
    return [
        path
        for path, linear in reversed(lm.linears().items())
        if id(linear) in inside and _width(linear) == lm.d_model
    ]


def _added_as_it_is(comparison: Comparison, block: int, path: str) -> bool:
    """Whether a constant on this Linear's output moves the block's output by that constant, up to rounding."""
    lm = comparison.lm
    linear = lm.model.get_submodule(path)
    out, own = _outputs(comparison, (lm.blocks[block], linear))
    # A probe of the size of the residual stream, so that a scale or a norm behind the Linear is seen above rounding.
    signs = torch.randint(0, 2, (lm.d_model,), generator=torch.Generator().manual_seed(block)) * 2.0 - 1.0
    probe = (signs.to(out.device) * out.abs().median()).to(lm.dtype)
    with lm.edited([_Constant(linear, probe.to(lm.device_of(linear)))], 1.0, first_token=True):
        (moved,) = _outputs(comparison, (lm.blocks[block],))
    probe, moved = probe.float(), moved - out
    eps = torch.finfo(lm.dtype).eps
    rounding = 8 * eps * (2 * out.abs() + own.abs() + 2 * probe.abs())
    # Rounding averages out, so the share of the probe that arrives is known more sharply than any one number.
    share = float((moved @ probe).mean() / (probe @ probe))
    return abs(share - 1) <= 8 * eps and bool(((moved - probe).abs() <= rounding).all())


def _outputs(comparison: Comparison, modules: Sequence[nn.Module]) -> list[Float[Tensor, "position d_model"]]:
    """What modules give at the real positions of the texts, float32."""
    real = comparison.tokens.attention_mask.bool()
    kept: dict[nn.Module, Tensor] = {}

    def keep(module: nn.Module, args: Any, output: Any) -> None:
        hidden = output if isinstance(output, Tensor) else output[0]
        kept[module] = hidden.reshape(*real.shape, -1)[real.to(hidden.device)].float()

    handles = [module.register_forward_hook(keep) for module in modules]
    try:
        comparison.logits(comparison.lm.model)
    finally:
        for handle in handles:
            handle.remove()
    return [kept[module].to(comparison.lm.device) for module in modules]


# -- what the config can say -------------------------------------------------------------------------------------------


def _option_for(model: Any, path: str) -> str | None:
    """The config's option that gives this Linear a bias and otherwise changes no more than other Linears' biases."""
    options = [
        name for name, value in text_config(model).to_dict().items() if "bias" in name and value is False
    ]
    return next((option for option in options if path in _made_by(model, option)), None)


def _made_by(model: Any, option: str) -> list[str]:
    """The Linears that get a bias by this option; none where it changes anything else."""
    config = copy.deepcopy(model.config)
    setattr(config.get_text_config(decoder=True), option, True)
    with torch.device("meta"):
        other = type(model)(config)
    before, after = set(model.state_dict()), set(other.state_dict())
    paths = [name.removesuffix(".bias") for name in sorted(after - before)]
    modules = [model.get_submodule(path) for path in paths if path in dict(model.named_modules())]
    only_biases = before <= after and len(modules) == len(paths) and all(map(_has_room, modules))
    return paths if only_biases else []


def _has_room(module: nn.Module) -> bool:
    """Whether this is a Linear without a bias that would add one if it were there."""
    return isinstance(module, nn.Linear) and module.bias is None


def _width(linear: Any) -> int:
    """How many numbers a Linear or a Conv1D gives."""
    return int(linear.out_features if hasattr(linear, "out_features") else linear.nf)
