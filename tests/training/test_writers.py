"""The Linears that write to the residual stream, family by family; none is known by its name."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    Qwen2MoeConfig,
    Qwen3Config,
)

from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.training.writers import residual_writers

SIZES = {
    "vocab_size": 20,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "pad_token_id": None,
}
COMMON = SIZES | {"intermediate_size": 24, "num_key_value_heads": 4, "head_dim": 4}
SQUARE = COMMON | {"intermediate_size": 16}  # every Linear of a block is 16 x 16
ATTENTION, MLP = "self_attn.o_proj", "mlp.down_proj"

FAMILIES: dict[str, tuple[Callable[[], Any], list[str]]] = {
    "llama": (lambda: LlamaConfig(**COMMON), [ATTENTION, MLP]),
    "llama, all square": (lambda: LlamaConfig(**SQUARE), [ATTENTION, MLP]),
    "qwen3, norms on queries": (lambda: Qwen3Config(**SQUARE), [ATTENTION, MLP]),
    "gemma2, norms after": (lambda: Gemma2Config(**SQUARE), [ATTENTION, MLP]),
    "olmo2, norms after": (lambda: Olmo2Config(**SQUARE), [ATTENTION, MLP]),
    "phi3, fused": (lambda: Phi3Config(**SQUARE), [ATTENTION, MLP]),
    "gpt2": (lambda: GPT2Config(vocab_size=20, n_embd=16, n_layer=2, n_head=4, n_inner=16), ["attn.c_proj", "mlp.c_proj"]),
    "gpt_neox, parallel": (
        lambda: GPTNeoXConfig(**SIZES, intermediate_size=16),
        ["attention.dense", "mlp.dense_4h_to_h"],
    ),
    "mixtral": (lambda: MixtralConfig(**COMMON, num_local_experts=4), [ATTENTION]),
    "qwen2_moe, a shared expert": (
        lambda: Qwen2MoeConfig(
            **COMMON, num_experts=4, moe_intermediate_size=8, shared_expert_intermediate_size=16, num_experts_per_tok=2
        ),
        [ATTENTION, "mlp.shared_expert.down_proj"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_writers_are_found_by_what_they_do(family: str) -> None:
    config, wanted = FAMILIES[family]
    torch.manual_seed(0)
    lm = LM(AutoModelForCausalLM.from_config(config()), tokenizer=None)
    found = residual_writers(lm, 0, 1)
    for block in (0, 1):
        inside = [path for path in found if f".{block}." in path]
        assert [path.split(f".{block}.", 1)[1] for path in inside] == wanted
    assert found == [path for path in lm.linears() if path in found]  # in order
    assert residual_writers(lm, 1, 1) == found[len(wanted) :]


def test_the_model_is_left_as_it_was(tiny_lm) -> None:
    ids = torch.tensor([[1, 5, 6]])
    with torch.no_grad():
        before = tiny_lm.model(ids).logits
        residual_writers(tiny_lm, 0, 3)
        after = tiny_lm.model(ids).logits
    assert torch.equal(before, after)
    assert not any(module._forward_hooks for module in tiny_lm.linears().values())
    assert all(parameter.grad is None for parameter in tiny_lm.model.parameters())


@pytest.mark.parametrize("blocks", [(0, 4), (-1, 2), (2, 1)])
def test_blocks_that_are_not_there_are_told(tiny_lm, blocks: tuple[int, int]) -> None:
    with pytest.raises(UsageError, match="blocks 0 to 3"):
        residual_writers(tiny_lm, *blocks)
