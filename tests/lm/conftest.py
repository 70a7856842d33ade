"""Two-block models of many families with a word-level tokenizer, both built in code; edits written by hand."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    Gemma2Config,
    Gemma3Config,
    Gemma3TextConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Phi3Config,
    PreTrainedTokenizerFast,
    Qwen2Config,
    Qwen3Config,
    Qwen3MoeConfig,
    Qwen3NextConfig,
)

from gnomon.lm import LM, Chat

VOCABULARY = """
the a cat dog bird sat ran flew on over under mat hill tree yes no maybe is was you broke vase did ? . ,
I i can not do that am sorry but help with this user assistant system be kind New York City Yard
"""
WORDS = VOCABULARY.split()
SPECIAL = ["<unk>", "<s>", "</s>"]
SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": len(WORDS) + 3}
COMMON = SIZES | {
    "intermediate_size": 48,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "initializer_range": 0.1,
    "max_position_embeddings": 256,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": None,
}
WINDOW = {"sliding_window": 4}
EXPERTS = {"num_experts_per_tok": 2}
TEXT_GEMMA3 = COMMON | WINDOW | {"layer_types": ["sliding_attention", "full_attention"]}

CONFIGS: dict[str, Callable[[], Any]] = {
    "llama": lambda: LlamaConfig(**COMMON),
    "mistral": lambda: MistralConfig(**COMMON, **WINDOW),
    "qwen2": lambda: Qwen2Config(**COMMON),
    "qwen3": lambda: Qwen3Config(**COMMON),
    "gemma2": lambda: Gemma2Config(**COMMON, **WINDOW),
    "gemma3": lambda: Gemma3TextConfig(**TEXT_GEMMA3),
    "gemma3_vision": lambda: Gemma3Config(
        text_config=TEXT_GEMMA3,
        vision_config={
            "hidden_size": 16,
            "num_hidden_layers": 2,  # as many blocks as the text decoder has
            "num_attention_heads": 2,
            "intermediate_size": 16,
            "image_size": 28,
            "patch_size": 14,
        },
        mm_tokens_per_image=4,
        image_token_index=len(WORDS) + 2,
    ),
    "phi3": lambda: Phi3Config(**COMMON, **WINDOW),
    "olmo2": lambda: Olmo2Config(**COMMON),
    "gpt2": lambda: GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=len(WORDS) + 3, n_positions=256, initializer_range=0.1,
        bos_token_id=1, eos_token_id=2,
    ),
    "gpt_neox": lambda: GPTNeoXConfig(
        **SIZES, intermediate_size=48, initializer_range=0.1, max_position_embeddings=256, bos_token_id=1,
        eos_token_id=2,
    ),
    "mixtral": lambda: MixtralConfig(**COMMON, **EXPERTS, num_local_experts=4),
    "qwen3_moe": lambda: Qwen3MoeConfig(**COMMON, **EXPERTS, num_experts=4, moe_intermediate_size=24),
    "qwen3_next": lambda: Qwen3NextConfig(  # one block of linear attention, whose cache is a running state
        **COMMON, **EXPERTS, num_experts=4, moe_intermediate_size=24, shared_expert_intermediate_size=16,
        linear_num_key_heads=2, linear_num_value_heads=4, linear_key_head_dim=8, linear_value_head_dim=8,
        layer_types=["linear_attention", "full_attention"],
    ),
}  # fmt: skip

# Longer than the sliding window, of several lengths, and with beginnings in common.
PROMPTS = [
    "the cat sat on the mat . the dog ran over the hill .",
    "the cat sat on the mat . the bird flew under the tree",
    "a dog",
    "you broke the vase . did you ?",
    "the cat sat on the mat . the bird",
    "is the cat on the hill , or is the dog under the tree ?",
    "the cat sat on the mat . the dog ran",
]


def build_tokenizer(**settings: Any) -> PreTrainedTokenizerFast:
    vocabulary = {word: i for i, word in enumerate([*SPECIAL, *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    named = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"} | settings
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named)


def build_model(family: str, seed: int = 0) -> Any:
    from transformers import AutoModelForCausalLM

    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(CONFIGS[family]())
    # An untied head and biases that are not zero, so that nothing cancels by luck.
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.1)
    return model.eval()


class AddVector:
    """Adds alpha * vector to a block's output."""

    def __init__(self, block: int, vector: torch.Tensor) -> None:
        self.block, self.vector = block, vector

    def deltas(self, lm: LM, alpha: float) -> list[Any]:
        addition = (alpha * self.vector).to(lm.dtype)
        return [(lm.blocks[self.block], lambda x: addition)]

    def prefix(self, alpha: float) -> None:
        return None


class LowRank:
    """y <- y + alpha (x V) K^T U^T on one Linear."""

    def __init__(self, path: str, u: torch.Tensor, v: torch.Tensor, core: torch.Tensor) -> None:
        self.path, self.u, self.v, self.core = path, u, v, core

    def deltas(self, lm: LM, alpha: float) -> list[Any]:
        return [(lm.model.get_submodule(self.path), lambda x: x @ self.v @ (alpha * self.core).T @ self.u.T)]

    def prefix(self, alpha: float) -> None:
        return None


class Prefix:
    """Text in front of the prompt."""

    def __init__(self, toward: str, away: str) -> None:
        self.words = {1: toward, -1: away, 0: None}

    def deltas(self, lm: LM, alpha: float) -> list[Any]:
        return []

    def prefix(self, alpha: float) -> str | None:
        return self.words[int(alpha)]


def low_rank(lm: LM, block: int = 0, rank: int = 3, seed: int = 1) -> LowRank:
    """A LowRank edit on the last Linear of a block, of a size that changes the logits visibly."""
    generator = torch.Generator().manual_seed(seed)
    inside = {id(module) for module in lm.blocks[block].modules()}
    # Dense models end a block with a Linear; mixtures of experts have Linears only in attention.
    candidates = [path for path, m in lm.linears().items() if id(m) in inside and "gate" not in path]
    path = candidates[-1]
    weight = lm.linears()[path].weight
    d_in, d_out = weight.shape if type(lm.linears()[path]).__name__ == "Conv1D" else weight.shape[::-1]
    u = torch.linalg.qr(torch.randn(d_out, rank, generator=generator)).Q
    v = torch.linalg.qr(torch.randn(d_in, rank, generator=generator)).Q
    return LowRank(path, u, v, torch.randn(rank, rank, generator=generator))


def add_vector(lm: LM, block: int = 0, seed: int = 2) -> AddVector:
    return AddVector(block, torch.randn(lm.d_model, generator=torch.Generator().manual_seed(seed)))


def reference(
    lm: LM, ids: Sequence[int], edits: Sequence[tuple[Any, float]] = (), first_token: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits `[position, vocabulary]` and block outputs `[block, position, d_model]` of one unpadded sequence.

    Written without the LM's own hooks: no batch, no padding, no cache, no early stop.
    """
    states: list[torch.Tensor] = []
    handles = []

    def adding(delta: Any) -> Any:
        def hook(module: Any, args: Any, output: Any) -> Any:
            hidden = output[0] if isinstance(output, tuple) else output
            edited = hidden + delta(args[0])
            if not first_token:
                # A shared expert sees the positions flat; the sequence is alone here, so its first is the first row.
                at = hidden.dim() - 2
                edited = torch.cat([hidden.narrow(at, 0, 1), edited.narrow(at, 1, len(ids) - 1)], dim=at)
            return (edited, *output[1:]) if isinstance(output, tuple) else edited

        return hook

    def keep(module: Any, args: Any, output: Any) -> None:
        states.append((output[0] if isinstance(output, tuple) else output)[0])

    for edit, alpha in edits:
        for module, delta in edit.deltas(lm, alpha):
            handles.append(module.register_forward_hook(adding(delta)))
    handles += [block.register_forward_hook(keep) for block in lm.blocks]
    try:
        with torch.no_grad():
            logits = lm.model(input_ids=torch.tensor([list(ids)]), use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return logits, torch.stack(states)


def assert_close(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Equal to 1e-5 of the largest value."""
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= 1e-5 * expected.abs().max()


class Helpers:
    """What the tests of this room share."""

    prompts = PROMPTS
    chat = Chat
    build_tokenizer = staticmethod(build_tokenizer)
    build_model = staticmethod(build_model)
    add_vector = staticmethod(add_vector)
    low_rank = staticmethod(low_rank)
    prefix = Prefix
    reference = staticmethod(reference)
    assert_close = staticmethod(assert_close)


@pytest.fixture(scope="session")
def helpers() -> type[Helpers]:
    return Helpers


@pytest.fixture(scope="session", params=CONFIGS)
def family(request: pytest.FixtureRequest) -> LM:
    return LM(build_model(request.param), build_tokenizer(), name=request.param)


@pytest.fixture
def lm() -> LM:
    return LM(build_model("llama"), build_tokenizer(), name="tiny")
