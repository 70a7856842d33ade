"""Tiny models of several families, saved as an engine would find them, and dials of every kind for them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gnomon.dials import AddVector, Dial, FreeCore, LowRank, RotationCore
from gnomon.lm import LM

PROMPTS = ("you are kind", "the cat sat on the mat and was", "is the sky blue ?")


def configs(vocabulary: int) -> dict[str, Callable[[], Any]]:
    import transformers as t

    sizes = {"vocab_size": vocabulary, "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    wide = sizes | ends | {"intermediate_size": 48, "initializer_range": 0.2, "max_position_embeddings": 128}
    keys = wide | {"num_key_value_heads": 2, "head_dim": 8}
    return {
        "llama": lambda: t.LlamaConfig(**keys),
        "qwen2": lambda: t.Qwen2Config(**keys),
        "gpt_neox": lambda: t.GPTNeoXConfig(**wide),
        "gpt2": lambda: t.GPT2Config(
            vocab_size=vocabulary,
            n_embd=32,
            n_layer=3,
            n_head=4,
            n_positions=128,
            initializer_range=0.2,
            **ends,
        ),
        "gemma2": lambda: t.Gemma2Config(**keys),
        "granite": lambda: t.GraniteConfig(**keys, residual_multiplier=0.9),
        "mixtral": lambda: t.MixtralConfig(**keys, num_local_experts=4),
        "cohere": lambda: t.CohereConfig(**keys, logit_scale=1.0),
    }


@pytest.fixture(scope="session")
def build(tiny_lm: LM, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., LM]:
    """A tiny random model of a family; its folder, as transformers saved it, is its name."""
    from transformers import AutoModelForCausalLM

    made: dict[tuple[str, torch.dtype], LM] = {}

    def of(family: str, dtype: torch.dtype = torch.float32) -> LM:
        if (family, dtype) not in made:
            folder = tmp_path_factory.mktemp(family) / "model"
            torch.manual_seed(0)
            model = AutoModelForCausalLM.from_config(configs(len(tiny_lm.tokenizer))[family]()).to(dtype)
            for name, parameter in model.named_parameters():
                if name.endswith("bias"):  # biases that are 0 would hide one that is lost
                    torch.nn.init.normal_(parameter, std=0.2)
            model.save_pretrained(folder)
            made[family, dtype] = LM(model, copy.deepcopy(tiny_lm.tokenizer), name=str(folder))
        return made[family, dtype]

    return of


@pytest.fixture(scope="session")
def plain() -> Callable[[str | Path], Any]:
    """The model of a folder, opened by transformers and by nothing of ours."""
    from transformers import AutoModelForCausalLM

    def opened(folder: str | Path, dtype: torch.dtype = torch.float32) -> Any:
        return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()

    return opened


@pytest.fixture(scope="session")
def low_rank() -> Callable[..., LowRank]:
    """A random low-rank edit of a Linear, of a size that changes the logits visibly."""

    def of(lm: LM, module: str, *, core: str = "rotation", rank: int = 3, seed: int = 0) -> LowRank:
        generator = torch.Generator().manual_seed(seed)

        def normal(*shape: int) -> torch.Tensor:
            return torch.randn(*shape, generator=generator)

        linear: Any = lm.linears()[module]
        rows, columns = linear.weight.shape
        d_out, d_in = (columns, rows) if hasattr(linear, "nf") else (rows, columns)
        skew = 0.4 * normal(rank, rank)
        made = {
            "free": FreeCore(normal(rank, rank)),
            "rotation": RotationCore(1 + normal(rank).abs(), 0.5 * normal(rank), skew - skew.mT),
        }
        return LowRank(
            module, torch.linalg.qr(normal(d_out, rank)).Q, torch.linalg.qr(normal(d_in, rank)).Q, made[core]
        )

    return of


@pytest.fixture(scope="session")
def low_rank_dial(low_rank: Callable[..., LowRank]) -> Callable[..., Dial]:
    """A dial with edits on the first and the last Linear, of different ranks, made for the model."""

    def of(lm: LM, core: str = "rotation", **fields: Any) -> Dial:
        first, *_, last = lm.linears()
        edits = (low_rank(lm, first, core=core, rank=2), low_rank(lm, last, core=core, rank=3, seed=1))
        return Dial(edits, **({"name": "low rank", "first_token": True} | fields)).bound(lm)

    return of


@pytest.fixture(scope="session")
def vector_dial() -> Callable[..., Dial]:
    """A dial with a vector at one block or several, made for the model."""

    def of(lm: LM, *blocks: int, **fields: Any) -> Dial:
        generator = torch.Generator().manual_seed(2)
        edits = tuple(
            AddVector(b, 0.5 * torch.randn(lm.d_model, generator=generator)) for b in blocks or (1,)
        )
        return Dial(edits, **({"name": "vector", "first_token": True} | fields)).bound(lm)

    return of


@torch.no_grad()
def logits(model: Any, lm: LM) -> torch.Tensor:
    """Logits at every position of three prompts, each alone: no batch, no padding, no cache."""
    ids = lm.encode(PROMPTS)
    return torch.cat([model(input_ids=torch.tensor([row]), use_cache=False).logits[0].float() for row in ids])


def steered(lm: LM, dial: Dial, alpha: float) -> torch.Tensor:
    with lm.steer(dial, alpha):
        return logits(lm.model, lm)


def assert_is_the_dial(model: Any, lm: LM, dial: Dial, alpha: float, relative: float = 1e-5) -> None:
    """The dial's logits up to this share of the largest, where the dial moves them by more than five times that."""
    expected, base = steered(lm, dial, alpha), logits(lm.model, lm)
    limit = relative * float(expected.abs().max())
    assert float((expected - base).abs().max()) > max(0.01, 5 * limit)
    assert float((logits(model, lm) - expected).abs().max()) <= limit


class Helpers:
    logits = staticmethod(logits)
    steered = staticmethod(steered)
    assert_is_the_dial = staticmethod(assert_is_the_dial)


@pytest.fixture(scope="session")
def helpers() -> type[Helpers]:
    return Helpers


@pytest.fixture
def untouched() -> Callable[[LM], Callable[[], None]]:
    """Remember a model: its tensors, modules, hooks and config; the returned function says that all are as they were."""

    def state(lm: LM) -> Any:
        model = lm.model
        return (
            {name: (tensor.data_ptr(), tensor.clone()) for name, tensor in model.state_dict().items()},
            {name: id(module) for name, module in model.named_modules()},
            [parameter.requires_grad for parameter in model.parameters()],
            sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()),
            model.config.to_dict(),
            len(lm.active),
        )

    def remember(lm: LM) -> Callable[[], None]:
        tensors, *rest = state(lm)

        def check() -> None:
            now, *others = state(lm)
            assert others == rest
            assert now.keys() == tensors.keys()
            for name, (place, tensor) in tensors.items():
                assert now[name][0] == place
                assert torch.equal(now[name][1], tensor)

        return check

    return remember
