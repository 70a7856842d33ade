"""What identifies a model: its shapes and vocabulary (does a dial fit?), and its weights (is it the same model?)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gnomon.errors import UsageError
from gnomon.lm.blocks import text_config

if TYPE_CHECKING:
    from gnomon.lm.model import LM

_SHAPES = (
    "model_type",
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "head_dim",
    "vocab_size",
)
_ROWS = 4


def architecture_id(lm: LM) -> str:
    """sha256 of the config's shapes, the Linears' paths and the tokenizer's vocabulary; reads no weights."""
    config = text_config(lm.model)
    described = {
        "shapes": {name: getattr(config, name, None) for name in _SHAPES},
        "linears": sorted(lm.linears()),
        "vocabulary": sorted(lm.tokenizer.get_vocab().items()),
    }
    return hashlib.sha256(json.dumps(described).encode()).hexdigest()


@torch.no_grad()
def weights_id(lm: LM, modules: Sequence[str]) -> str:
    """sha256 of a few evenly spaced rows of each Linear's weight, as float32 where they are floating point."""
    linears = lm.linears()
    names = sorted(modules) or sorted(linears)
    digest = hashlib.sha256()
    for name in names:
        if name not in linears:
            raise UsageError(f"The model has no Linear {name!r} inside its blocks.")
        weight = linears[name].weight
        assert isinstance(weight, torch.Tensor)
        rows = torch.linspace(0, len(weight) - 1, min(_ROWS, len(weight))).long()
        sampled = weight[rows.to(weight.device)].cpu()
        if sampled.is_floating_point():
            sampled = sampled.float()
        digest.update(name.encode())
        digest.update(sampled.contiguous().numpy().tobytes())
    return digest.hexdigest()
