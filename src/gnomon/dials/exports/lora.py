"""A dial as LoRA adapters in PEFT's layout: exact at each coefficient, B = U and A = M(alpha) V^T, scaling 1."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from gnomon.dials.exports.changes import Factors, factors_at
from gnomon.dials.exports.comparing import Comparison, Export, moved, offloaded, shared_copy
from gnomon.dials.exports.door import check, check_model, counted, name_of, need, over
from gnomon.dials.exports.folders import whole
from gnomon.runs import Progress, progress

if TYPE_CHECKING:
    from gnomon.dials.dial import Dial
    from gnomon.lm import LM


def to_lora(
    dial: Dial,
    lm: LM,
    folder: str | Path,
    alphas: Sequence[float] = (1.0, -1.0),
    *,
    inexact: bool = False,
    progress: Progress = progress,
) -> list[Export]:
    """Write one adapter folder per coefficient, load each with PEFT and compare it with the dial.

    Args:
        dial: Low-rank edits only.
        lm: The model that the dial is for; it stays as it is.
        folder: A new folder; the adapters are its subfolders alpha+1, alpha-1, ...
        alphas: The coefficients. A rotation core is not linear in alpha, so an adapter is exact at its own only.
        inexact: Export a dial that leaves the first token alone, which no adapter can.
        progress: A bar per adapter.

    Raises:
        UsageError: the dial or the folder cannot be used so, or peft is not installed.
        Failure: an adapter does not do what the dial does, or the disk refused.

    Source: Hu et al. 2021 (LoRA); `docs/exports.md`.
    """
    check("lora", dial, folder, alphas, inexact=inexact)
    need("peft")
    check_model(dial, lm)
    comparison = Comparison(dial, lm, progress)
    exports = []
    with whole(folder) as place:
        for alpha in alphas:
            adapter = place / name_of(alpha)
            with progress(f"LoRA at alpha = {alpha:+g}"):
                factors = factors_at(dial, alpha)
                write_adapter(adapter, lm, factors)
                found = (
                    None if offloaded(lm) else comparison.difference(alpha, _loaded(comparison, lm, adapter))
                )
            ranks = sorted({len(a) for a, _ in factors.values()})
            holds = (
                f"a LoRA of rank {', '.join(map(str, ranks))} on {counted(len(factors), 'Linear')}{over(lm)}"
            )
            exports.append(Export(adapter, alpha, holds, found))
    return moved(exports, folder)


def write_adapter(folder: Path, lm: LM, factors: Factors) -> None:
    """Write `adapter_config.json` and `adapter_model.safetensors`, both as PEFT names things."""
    from peft import LoraConfig
    from safetensors.torch import save
    from transformers.pytorch_utils import Conv1D

    linears = lm.linears()
    ranks = {module: len(a) for module, (a, _) in factors.items()}
    largest = max(ranks.values())
    others = {module: rank for module, rank in ranks.items() if rank != largest}
    config = LoraConfig(
        base_model_name_or_path=lm.name,
        task_type="CAUSAL_LM",
        target_modules=list(factors),
        r=largest,
        lora_alpha=largest,  # scaling is lora_alpha / r, and 1 everywhere
        rank_pattern=others,
        alpha_pattern=others,
        fan_in_fan_out=any(isinstance(linears[module], Conv1D) for module in factors),
        inference_mode=True,
    )
    tensors = {}
    for module, (a, b) in factors.items():
        tensors[f"base_model.model.{module}.lora_A.weight"] = a.contiguous()
        tensors[f"base_model.model.{module}.lora_B.weight"] = b.contiguous()
    folder.mkdir()
    (folder / "adapter_model.safetensors").write_bytes(save(tensors, metadata={"format": "pt"}))
    config.save_pretrained(str(folder))


def _loaded(comparison: Comparison, lm: LM, adapter: Path) -> Float[Tensor, "position vocabulary"]:
    """The logits of the model with the adapter as PEFT loads it."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what is missing shows in the logits
        return comparison.logits(PeftModel.from_pretrained(shared_copy(lm.model), adapter).eval())
