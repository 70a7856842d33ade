"""A vector dial as a GGUF control vector, the file that llama.cpp adds to the residual stream.

llama.cpp adds the tensor `direction.N` to the output of its layer N, counted from 0, behind the layer's last residual
sum: block N of ours, and the last block is N = n_blocks - 1. There is no `direction.0`, so block 0 has no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from gnomon.dials.edits import AddVector
from gnomon.dials.exports.changes import Vectors, vectors_at
from gnomon.dials.exports.comparing import Comparison, Export, moved
from gnomon.dials.exports.door import check, check_model, name_of, need, over
from gnomon.dials.exports.folders import whole
from gnomon.errors import UsageError
from gnomon.runs import Progress, progress

if TYPE_CHECKING:
    from gnomon.dials.dial import Dial
    from gnomon.lm import LM

ARCHITECTURE = "controlvector"


def to_gguf(
    dial: Dial,
    lm: LM,
    folder: str | Path,
    alphas: Sequence[float] = (1.0, -1.0),
    *,
    inexact: bool = False,
    progress: Progress = progress,
) -> list[Export]:
    """Write one control vector per coefficient (alpha+1.gguf, ...), read each again and compare it with the dial.

    A vector is linear in alpha, so one file and llama.cpp's own scale reach every coefficient.

    Args:
        dial: Vectors only, none at block 0.
        lm: The model that the dial is for; it stays as it is.
        folder: A new folder.
        alphas: The coefficients.
        inexact: Export a dial that leaves the first token alone, which llama.cpp does not.
        progress: A bar per file.

    Raises:
        UsageError: the dial or the folder cannot be used so, or gguf is not installed.
        Failure: a file does not do what the dial does, or the disk refused.

    Source: llama.cpp, control vectors (loader in `common`, applied in `llama-adapter`).
    """
    check("gguf", dial, folder, alphas, inexact=inexact)
    if any(isinstance(edit, AddVector) and edit.block == 0 for edit in dial.edits):
        raise UsageError(
            f"the dial {dial.name!r} edits block 0 and a control vector has no direction.0; fit it at a later block, or "
            "choose bias"
        )
    need("gguf")
    check_model(dial, lm)
    comparison = Comparison(dial, lm, progress)
    exports = []
    with whole(folder) as place:
        for alpha in alphas:
            file = place / f"{name_of(alpha)}.gguf"
            with progress(f"control vector at alpha = {alpha:+g}"):
                vectors = vectors_at(dial, alpha)
                write_control_vector(file, vectors, dial, lm)
                read = [AddVector(block, vector) for block, vector in read_control_vector(file).items()]
                with lm.edited(read, 1.0, first_token=True):
                    logits = comparison.logits(lm.model)
                found = comparison.difference(alpha, logits)
            named = ", ".join(f"direction.{block}" for block in vectors)
            exports.append(Export(file, alpha, f"a control vector with {named}{over(lm)}", found))
    return moved(exports, folder)


def write_control_vector(file: Path, vectors: Vectors, dial: Dial, lm: LM) -> None:
    """Write the vectors as `direction.N` in float32, with the keys that such files carry."""
    from gguf import GGUFWriter

    from gnomon.lm.blocks import text_config

    writer = GGUFWriter(file, ARCHITECTURE)
    writer.add_name(dial.name)
    writer.add_string(f"{ARCHITECTURE}.model_hint", text_config(lm.model).model_type)
    writer.add_uint32(f"{ARCHITECTURE}.layer_count", len(vectors))
    for block, vector in vectors.items():
        writer.add_tensor(f"direction.{block}", vector.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_control_vector(file: Path) -> Vectors:
    """The vectors of a control vector file, by llama.cpp's layer."""
    from gguf import GGUFReader

    return {
        int(tensor.name.removeprefix("direction.")): torch.from_numpy(tensor.data.copy())
        for tensor in GGUFReader(file).tensors
    }
