"""Where a model keeps its residual blocks and its Linears: found in the module tree, never listed per family."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gnomon.errors import UsageError


def text_config(model: nn.Module) -> Any:
    """The configuration of the text decoder, also where it sits inside a vision wrapper."""
    config: Any = model.config
    return config.get_text_config(decoder=True)


def path_of(model: nn.Module, module: nn.Module) -> str:
    """The dotted path of a module inside the model."""
    path: str = next(name for name, candidate in model.named_modules() if candidate is module)
    return path


def find_blocks(model: nn.Module, path: str | None = None) -> tuple[nn.Module, ...]:
    """The residual blocks, in order: the decoder's list of modules that is as long as its config says.

    Args:
        model: A causal language model of transformers.
        path: The dotted path of the list, where the search does not find it.

    Raises:
        UsageError: There is no such list, or more than one at the same depth.
    """
    if path is not None:
        try:
            named = model.get_submodule(path)
        except AttributeError as error:
            raise UsageError(f"The model has no module {path!r} to take as its blocks: {error}.") from error
        if not isinstance(named, nn.ModuleList) or len(named) == 0:
            raise UsageError(f"The module {path!r} is not a list of blocks, it is a {type(named).__name__}.")
        return tuple(named)
    decoder = find_decoder(model)
    wanted = text_config(model).num_hidden_layers
    lists = [
        (name.count("."), name, module)
        for name, module in decoder.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == wanted
    ]
    shallowest = [found for found in lists if found[0] == min(depth for depth, _, _ in lists)]
    if len(shallowest) != 1:
        names = ", ".join(name for _, name, _ in shallowest) or "none"
        raise UsageError(
            f"Looked for one list of {wanted} blocks (num_hidden_layers) in the decoder "
            f"{type(decoder).__name__} and found {names}: name it with blocks='path.to.layers'."
        )
    return tuple(shallowest[0][2])


def find_decoder(model: nn.Module) -> nn.Module:
    """The text decoder below the language-model head (of the text part, in a vision wrapper)."""
    get_decoder: Any = model.get_decoder
    decoder: nn.Module = get_decoder()
    return decoder


def find_entrances(model: nn.Module, decoder: nn.Module) -> tuple[nn.Module, ...]:
    """The model, its decoder and what wraps it: the modules that a caller may call with an attention mask."""
    names = path_of(model, decoder).split(".")
    paths = ["", *(".".join(names[: i + 1]) for i in range(len(names)))]
    return tuple(dict.fromkeys(model.get_submodule(path) for path in paths))


def find_linears(model: nn.Module, blocks: tuple[nn.Module, ...]) -> dict[str, nn.Module]:
    """All Linears (and GPT-2's Conv1D) inside the blocks, by their path in the model."""
    from transformers.pytorch_utils import Conv1D

    inside = {id(module) for block in blocks for module in block.modules()}
    return {
        name: module
        for name, module in model.named_modules()
        if id(module) in inside and isinstance(module, nn.Linear | Conv1D)
    }


def device_of(module: nn.Module) -> torch.device:
    """Where a module computes; under accelerate's offloading that is not where its weights rest."""
    hook = getattr(module, "_hf_hook", None)
    execution = getattr(hook, "execution_device", None)
    if execution is not None:
        return torch.device(execution)
    return next(module.parameters()).device
