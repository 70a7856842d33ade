"""A dial as a checkpoint of transformers: W + U M(alpha) V^T where it is low-rank, a bias where it is a vector.

Merged in float32 and then rounded once, to the weight's own dtype. The opened model is never touched: what is saved is a
second set of modules over the same weights, with the changed ones in their place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gnomon.dials.exports.changes import factors_at, vectors_at
from gnomon.dials.exports.comparing import Comparison, Export, moved, offloaded, shared_copy
from gnomon.dials.exports.door import check, check_model, counted, name_of
from gnomon.dials.exports.folders import whole
from gnomon.dials.exports.places import Place, add_bias, find_place
from gnomon.errors import Failure, UsageError
from gnomon.runs import Progress, progress

if TYPE_CHECKING:
    from gnomon.dials.dial import Dial
    from gnomon.lm import LM

OPENED_AGAIN = 8 * 2**30
"""A checkpoint of at most so many bytes is opened again to be compared; above, the model that was saved is compared."""


def to_merged(
    dial: Dial,
    lm: LM,
    folder: str | Path,
    alphas: Sequence[float] = (1.0, -1.0),
    *,
    inexact: bool = False,
    progress: Progress = progress,
) -> list[Export]:
    """Write one checkpoint per coefficient (weights, config, tokenizer), open it again and compare it with the dial.

    Args:
        dial: Low-rank edits, and vectors where a bias is exact.
        lm: The model that the dial is for, not quantised; it stays as it is. Weights keep the dtype it is opened in.
        folder: A new folder; the checkpoints are its subfolders alpha+1, alpha-1, ...
        alphas: The coefficients.
        inexact: Export a dial that leaves the first token alone, which no weight can.
        progress: A bar per checkpoint.

    Raises:
        UsageError: the dial, the model or the folder cannot be used so.
        Failure: a checkpoint does not do what the dial does, or the disk refused.
    """
    check("merged", dial, folder, alphas, inexact=inexact)
    return write_merged(dial, lm, folder, alphas, progress)


def write_merged(
    dial: Dial, lm: LM, folder: str | Path, alphas: Sequence[float], progress: Progress
) -> list[Export]:
    """The checkpoints of a dial that passed the door; see `to_merged`."""
    check_model(dial, lm)
    _check_weights(lm)
    comparison = Comparison(dial, lm, progress)
    places = {block: find_place(comparison, block) for block in vectors_at(dial, 1.0)}
    exports = []
    with whole(folder) as parent:
        for alpha in alphas:
            checkpoint = parent / name_of(alpha)
            with progress(f"merging at alpha = {alpha:+g}"):
                model, rounding = merged(dial, lm, alpha, places)
            with progress(f"writing the checkpoint at alpha = {alpha:+g}"):
                _save(model, lm.tokenizer, checkpoint)
            with progress(f"comparing it with the dial at alpha = {alpha:+g}"):
                found = comparison.difference(alpha, comparison.logits(_opened(checkpoint, lm, model)))
            exports.append(Export(checkpoint, alpha, _holds(dial, places, lm), found, rounding))
    return moved(exports, folder)


@torch.no_grad()
def merged(dial: Dial, lm: LM, alpha: float, places: dict[int, Place]) -> tuple[Any, float]:
    """The model with the dial in its weights, over the opened model's others; and the largest rounding of a weight."""
    model = shared_copy(lm.model)
    rounding = 0.0
    for path, (a, b) in factors_at(dial, alpha).items():
        linear = model.get_submodule(path)
        exact = linear.weight.float() + _change(linear, a, b)
        linear.weight = nn.Parameter(exact.to(linear.weight.dtype), requires_grad=False)
        rounding = max(rounding, float((linear.weight.float() - exact).abs().max()))
    for block, vector in vectors_at(dial, alpha).items():
        rounding = max(rounding, add_bias(model, places[block], vector))
    return model, rounding


def _change(
    linear: nn.Module, a: Float[Tensor, "rank d_in"], b: Float[Tensor, "d_out rank"]
) -> Float[Tensor, "d_1 d_2"]:
    """B A as the module keeps its weight: `[d_out, d_in]`, and the other way round in a Conv1D."""
    from transformers.pytorch_utils import Conv1D

    weight = linear.weight
    assert isinstance(weight, Tensor)
    change = b.to(weight.device) @ a.to(weight.device)
    return change.mT if isinstance(linear, Conv1D) else change


def _check_weights(lm: LM) -> None:
    if getattr(lm.model, "is_quantized", False):
        raise UsageError(
            f"the weights of {lm.name} are quantised and would lose what is merged into them; open it unquantised, or "
            "choose lora"
        )
    if offloaded(lm):
        raise UsageError(
            f"some weights of {lm.name} are offloaded; open it in memory (without device_map) to merge, or choose lora"
        )


def _save(model: Any, tokenizer: Any, checkpoint: Path) -> None:
    from safetensors import SafetensorError
    from transformers import utils

    logging: Any = utils.logging
    bars = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model.save_pretrained(checkpoint)
        tokenizer.save_pretrained(checkpoint)
    except (
        SafetensorError,
        ValueError,
    ) as error:  # a full disk; a generation config that transformers calls invalid
        raise Failure(
            f"transformers could not write the checkpoint ({' '.join(str(error).split())}); free some space, or mend what "
            "it names"
        ) from error
    finally:
        if bars:
            logging.enable_progress_bar()


def _opened(checkpoint: Path, lm: LM, model: Any) -> Any:
    """The checkpoint opened by transformers; the model that was saved, where a second one would be large."""
    from gnomon.lm import LM as Opened

    if sum(file.stat().st_size for file in checkpoint.glob("*.safetensors")) > OPENED_AGAIN:
        return model
    attention = lm.model.config._attn_implementation
    return Opened.load(
        checkpoint,
        device=str(lm.device),
        dtype=lm.dtype,
        attn_implementation=attention,
        blocks=lm.settings["blocks"],
    ).model


def _holds(dial: Dial, places: dict[int, Place], lm: LM) -> str:
    """What the checkpoint holds, in words."""
    weights, biases = len(dial.modules), [place.path for place in places.values()]
    parts = [counted(weights, "changed weight")] * bool(weights) + [
        f"a bias on {' and '.join(biases)}"
    ] * bool(biases)
    return f"a checkpoint in {str(lm.dtype).removeprefix('torch.')} with {' and '.join(parts)}"
