"""Two-block models of several families with the tiny tokenizer, whose Linears are edited under training; pairs of rows."""

import random
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import (
    AutoModelForCausalLM,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MixtralConfig,
    Qwen2MoeConfig,
)

from gnomon.lm import LM
from gnomon.training.pair_rows import PairRows

SIZES = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "initializer_range": 0.2}
COMMON = SIZES | {"intermediate_size": 24, "num_key_value_heads": 2, "bos_token_id": 1, "eos_token_id": 2}
ROUTED = {"num_experts_per_tok": 2, "pad_token_id": None}
FAMILIES: dict[str, Callable[[int], Any]] = {
    "llama": lambda words: LlamaConfig(**COMMON, vocab_size=words),
    "llama, tied": lambda words: LlamaConfig(**COMMON, vocab_size=words, tie_word_embeddings=True),
    "llama, biased": lambda words: LlamaConfig(
        **COMMON, vocab_size=words, attention_bias=True, mlp_bias=True
    ),
    "gpt2, Conv1D": lambda words: GPT2Config(
        n_embd=16, n_layer=2, n_head=4, vocab_size=words, n_positions=64, initializer_range=0.2
    ),
    "gpt_neox, parallel and biased": lambda words: GPTNeoXConfig(
        **SIZES, intermediate_size=24, vocab_size=words, max_position_embeddings=64
    ),
    "mixtral": lambda words: MixtralConfig(**COMMON, **ROUTED, vocab_size=words, num_local_experts=4),
    "qwen2_moe, a shared expert": lambda words: Qwen2MoeConfig(
        **COMMON,
        **ROUTED,
        vocab_size=words,
        num_experts=4,
        moe_intermediate_size=8,
        shared_expert_intermediate_size=12,
    ),
}


def open_family(name: str, tokenizer: Any) -> LM:
    """A random model of a family; biases are not zero, so that nothing cancels by luck."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(FAMILIES[name](len(tokenizer))).eval()
    for parameter_name, parameter in model.named_parameters():
        if parameter_name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return LM(model, tokenizer, name=name)


@pytest.fixture(scope="session", params=FAMILIES)
def trained_family(request: pytest.FixtureRequest, tiny_lm: LM) -> LM:
    return open_family(request.param, tiny_lm.tokenizer)


PERSONAS = (([1, 5, 6, 7, 8], [1, 5, 9, 8]), ([1, 10, 6, 11], [1, 10, 9, 9, 6, 11]))
"""Token ids of the toward and the away beginning of two templates; neither persona is as long as the other."""


@pytest.fixture(scope="session")
def pair_rows() -> PairRows:
    """Fourteen pairs of two templates by turns, with suffixes of 1 to 7 tokens; the last four are for validation."""
    draw = random.Random(0)
    suffixes = [[draw.randrange(4, 40) for _ in range(draw.randint(1, 7))] for _ in range(14)]
    toward, away = (
        tuple(PERSONAS[pair % 2][side] + suffix for pair, suffix in enumerate(suffixes)) for side in (0, 1)
    )
    return PairRows(
        toward,
        away,
        tuple(pair % 2 for pair in range(14)),
        tuple(pair >= 10 for pair in range(14)),
    )
