"""Linears under training through an adapter of PEFT: LoRA, DoRA, (IA)^3, VeRA or RoAD between the same modules.

The adapter sits in a stand-in that holds a twin of each edited Linear, without its bias, and never in the model. What it
changes there is added to the model's own output: `W x + alpha (W' x - W x)`, so that +1 is the adapter and -1 its mirror.
All five are changes of a weight, so that what was trained ends as low-rank edits of a dial. Knows PEFT; knows nothing of
losses or of the optimiser.

Sources: LoRA (Hu et al., arXiv 2106.09685), DoRA (Liu et al., arXiv 2402.09353), (IA)^3 (Liu et al., arXiv 2205.05638),
VeRA (Kopiczko et al., arXiv 2310.11454), RoAD (Liao & Monz, arXiv 2409.00119).
"""

from __future__ import annotations

import copy
import importlib.util
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.dials import FreeCore, LowRank
from gnomon.errors import UsageError
from gnomon.lm import Replay
from gnomon.lm.replay import Reads
from gnomon.training.edited import ALPHAS, computing
from gnomon.training.svd import as_float64, dense_weight, leading_right_vectors, orthonormal
from gnomon.training.trainable import Hook, hooked, shake

if TYPE_CHECKING:
    from gnomon.lm import LM

ADAPTERS = ("lora", "dora", "ia3", "vera", "road")
_VERA_RANK = 256
_ROAD_GROUP = 64


def need_peft() -> None:
    """`UsageError` where PEFT is not installed."""
    if importlib.util.find_spec("peft") is None:
        raise UsageError(
            "Training through an adapter needs the package peft: install it with pip install 'gnomon[adapters]'."
        )


class Adapted:
    """Some Linears of a model with an adapter of one kind, whose parameters are trained.

    Args:
        lm: The model.
        modules: The Linears' paths.
        kind: One of `ADAPTERS`.
        rank: Of LoRA and DoRA, at most what the narrowest Linear has; the others have none of their own choice.
        width: Of the noise that PEFT's own start is shaken by; see `shake`. At 0 nothing is changed at first.
        seed: Of PEFT's start and of the noise.

    Raises:
        UsageError: PEFT is not installed, or the kind does not fit the Linears.
    """

    first_token = True

    def __init__(
        self, lm: LM, modules: Sequence[str], kind: str, *, rank: int, width: float, seed: int
    ) -> None:
        need_peft()
        self.lm = lm
        self.modules = tuple(modules)
        linears = lm.linears()
        self._linears = [linears[module] for module in modules]
        own = [twin(linear) for linear in self._linears]
        config = _CONFIGS[kind]([(one.out_features, one.in_features) for one in own], rank, seed)
        twins = nn.ModuleDict({f"linear_{index}": one for index, one in enumerate(own)})
        config.target_modules = set(twins)
        _inject(twins, config, seed)
        self._layers: list[Any] = list(twins.values())
        self.parameters: Mapping[str, Tensor] = {
            name: parameter for name, parameter in twins.named_parameters() if parameter.requires_grad
        }
        shake(self.parameters, width, seed)
        self._signs = torch.tensor(ALPHAS, device=lm.device).view(-1, 1, 1)
        self._replay: Replay | None = None

    def attached(self) -> AbstractContextManager[None]:
        """Within the block, the Linears carry their adapters in replays that are run by `run`."""
        return hooked(self.lm, self._linears, [self._hook(layer) for layer in self._layers])

    def run(self, replay: Replay, reads: Reads) -> dict[int, Float[Tensor, "copy row position d_model"]]:
        """The blocks' outputs of a batch at +1 (copy 0) and -1 (copy 1); differentiable in the adapters' parameters."""
        self._replay = replay
        try:
            with computing(self.lm):
                return replay.run(reads)
        finally:
            self._replay = None

    def edits(self) -> tuple[LowRank, ...]:
        """The change of every weight as it stands now, at its numerical rank (at least 1)."""
        return tuple(
            low_rank(module, change_of(layer))
            for module, layer in zip(self.modules, self._layers, strict=True)
        )

    def _hook(self, layer: Any) -> Hook:
        base = layer.get_base_layer()

        def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor | None:
            if self._replay is None or self._replay.running is None:
                return None
            x = args[0].to(base.weight.dtype)
            change: Tensor = (layer(x) - base(x)).to(output.dtype)
            # All copies are stacked along the rows.
            copies = change.reshape(len(ALPHAS), -1, change.shape[-1])
            return output + (self._signs.to(change) * copies).view(output.shape)

        return hook


@torch.no_grad()
def twin(linear: nn.Module) -> nn.Linear:
    """A Linear without bias over the same weight, which is shared where it is dense; `dense_weight` raises."""
    weight = dense_weight(linear)
    own = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    own.weight = nn.Parameter(weight, requires_grad=False)
    return own


@torch.no_grad()
def change_of(layer: Any) -> Float[Tensor, "d_out d_in"]:
    """`W' - W` of an adapted Linear: what it makes of the unit vectors, in float64."""
    exact = copy.deepcopy(layer)
    device = exact.get_base_layer().weight.device
    exact = (exact.cpu() if device.type == "mps" else exact).double()
    eye = as_float64(torch.eye(exact.in_features, device=device))
    change: Tensor = exact(eye) - exact.get_base_layer()(eye)
    return change.mT


@torch.no_grad()
def low_rank(module: str, change: Float[Tensor, "d_out d_in"]) -> LowRank:
    """A change of a weight as an edit `U K V^T` of its numerical rank, V its leading right singular vectors."""
    V, _ = leading_right_vectors(change, min(change.shape))
    if not V.shape[1]:
        V = torch.eye(change.shape[1], 1, dtype=change.dtype, device=change.device)
    written = change @ V
    U = orthonormal(written)
    left, right, core = (tensor.float().cpu() for tensor in (U, V, U.mT @ written))
    return LowRank(module, left, right, FreeCore(core))


# -- PEFT's configurations, with its own defaults ------------------------------------------------------------------------


def _inject(twins: nn.ModuleDict, config: Any, seed: int) -> None:
    """PEFT puts its layers in the twins' places, float32; their random start comes from the seed alone."""
    from peft import get_peft_model

    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        get_peft_model(twins, config)
    for parameter in twins.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


Shapes = Sequence[tuple[int, int]]


def _lora(shapes: Shapes, rank: int, seed: int, *, dora: bool = False) -> Any:
    from peft import LoraConfig

    rank = min(rank, *map(min, shapes))
    # A scaling of lora_alpha / r = 1.
    return LoraConfig(r=rank, lora_alpha=rank, use_dora=dora)


def _dora(shapes: Shapes, rank: int, seed: int) -> Any:
    return _lora(shapes, rank, seed, dora=True)


def _ia3(shapes: Shapes, rank: int, seed: int) -> Any:
    from peft import IA3Config

    # Inputs are scaled: those of the second feed-forward Linear, and the values, which attention mixes by position alone.
    return IA3Config(feedforward_modules=[f"linear_{index}" for index in range(len(shapes))])


def _vera(shapes: Shapes, rank: int, seed: int) -> Any:
    from peft import VeraConfig

    return VeraConfig(r=_VERA_RANK, projection_prng_key=seed)


def _road(shapes: Shapes, rank: int, seed: int) -> Any:
    from peft import RoadConfig

    group = math.gcd(_ROAD_GROUP, *(width for width, _ in shapes))
    if group % 2:
        raise UsageError("RoAD turns pairs of outputs, and a Linear of this model has an odd number of them")
    return RoadConfig(group_size=group)


_CONFIGS: Mapping[str, Callable[[Shapes, int, int], Any]] = {
    "lora": _lora,
    "dora": _dora,
    "ia3": _ia3,
    "vera": _vera,
    "road": _road,
}
