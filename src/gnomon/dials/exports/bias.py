"""A vector dial as a bias in a checkpoint that is otherwise the model's own; where that is exact is `places`' business."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.dials.exports.comparing import Export
from gnomon.dials.exports.door import check
from gnomon.dials.exports.merged import write_merged
from gnomon.runs import Progress, progress

if TYPE_CHECKING:
    from gnomon.dials.dial import Dial
    from gnomon.lm import LM


def to_bias(
    dial: Dial,
    lm: LM,
    folder: str | Path,
    alphas: Sequence[float] = (1.0, -1.0),
    *,
    inexact: bool = False,
    progress: Progress = progress,
) -> list[Export]:
    """Write one checkpoint per coefficient in which a vector dial is a bias, and compare each with the dial.

    The checkpoint is that of `to_merged`; every weight is the model's own, and so is every bias but one per block.

    Args:
        dial: Vectors only.
        lm: The model that the dial is for; it stays as it is.
        folder: A new folder; the checkpoints are its subfolders alpha+1, alpha-1, ...
        alphas: The coefficients.
        inexact: Export a dial that leaves the first token alone, which no bias can.
        progress: A bar per checkpoint.

    Raises:
        UsageError: the dial or the folder cannot be used so, or no bias of the model is the vector.
        Failure: a checkpoint does not do what the dial does, or the disk refused.
    """
    check("bias", dial, folder, alphas, inexact=inexact)
    return write_merged(dial, lm, folder, alphas, progress)
