"""What is trained between the same modules: gnomon's own cores, or an adapter of PEFT. One door for all kinds.

Knows which kinds there are and how each begins; knows nothing of losses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from gnomon.training.adapters import ADAPTERS, Adapted, need_peft
from gnomon.training.antipasto_start import first_cores
from gnomon.training.cores import Cores, FreeCores, ScalingCores
from gnomon.training.edited import Bases, Edited
from gnomon.training.trainable import Trainable, shake

if TYPE_CHECKING:
    from gnomon.lm import LM

FREE, ROTATION, SCALING = "free", "rotation", "scaling"
KINDS = (FREE, ROTATION, SCALING, *ADAPTERS)
"""A free core, AntiPaSTO's rotation, its stretches alone, and the adapters of PEFT."""


def available(kind: str) -> None:
    """`UsageError` for a kind whose package is not installed."""
    if kind in ADAPTERS:
        need_peft()


def trainable(
    lm: LM,
    kind: str,
    modules: Sequence[str],
    bases: Callable[[], Sequence[Bases]],
    *,
    rank: int,
    width: float,
    seed: int,
) -> Trainable:
    """The modules with what is trained in them, as it begins.

    Args:
        lm: The model.
        kind: One of `KINDS`.
        modules: The edited Linears' paths.
        bases: Gives their bases; called for gnomon's own cores only, because they are costly.
        rank: Of LoRA and DoRA; the bases have their own, and the other kinds none to choose.
        width: Of the noise that a start without any change is shaken by; 0 for an objective that needs none. Rotations and
            stretches begin as AntiPaSTO publishes it, whatever the width.
        seed: Of the start.
    """
    if kind in ADAPTERS:
        return Adapted(lm, modules, kind, rank=rank, width=width, seed=seed)
    own = bases()
    return Edited(lm, own, _cores(lm, kind, own, width, seed))


def _cores(lm: LM, kind: str, bases: Sequence[Bases], width: float, seed: int) -> Cores:
    if kind == FREE:
        free = FreeCores(len(bases), bases[0].U.shape[1], device=lm.device)
        shake(free.parameters, width, seed)
        return free
    rotations = first_cores(bases, seed, lm.device)
    return rotations if kind == ROTATION else ScalingCores(rotations.dS)
