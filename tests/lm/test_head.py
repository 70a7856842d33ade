"""The head: on every family it gives the model's own logits from the last block's output, or says that it cannot."""

from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, Cohere2Config, GraniteConfig, MiniCPM3Config, OPTConfig

from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.lm.head import Head

SIZES = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 60,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "initializer_range": 0.3,
}


def opened(config: Any, helpers: Any) -> LM:
    torch.manual_seed(0)
    return LM(AutoModelForCausalLM.from_config(config), helpers.build_tokenizer(), name="tiny")


def assert_models_own_logits(lm: LM, helpers: Any) -> Head:
    head = Head.find(lm)
    for ids in lm.encode(helpers.prompts[:3]):
        logits, states = helpers.reference(lm, ids)
        with torch.no_grad():
            helpers.assert_close(head.logits(head.norm(states[-1])), logits)
    return head


def test_the_heads_logits_are_the_models(family: LM, helpers) -> None:
    head = assert_models_own_logits(family, helpers)
    assert len(head.norms) == 1
    assert head.cap == (30.0 if family.name == "gemma2" else None)


def test_a_projection_behind_the_norm_is_found(helpers) -> None:
    config = OPTConfig(**SIZES, ffn_dim=48, word_embed_proj_dim=16)
    assert len(assert_models_own_logits(opened(config, helpers), helpers).norms) == 2


def test_scaled_logits_are_found(helpers) -> None:
    assert assert_models_own_logits(opened(Cohere2Config(**SIZES), helpers), helpers).scale == pytest.approx(
        1 / 16
    )
    granite = opened(GraniteConfig(**SIZES, logits_scaling=4.0), helpers)
    assert assert_models_own_logits(granite, helpers).scale == pytest.approx(1 / 4)


def test_gradients_flow_to_the_states(family: LM, helpers) -> None:
    head = Head.find(family)
    states = torch.randn(3, 32, requires_grad=True)
    head.logits(head.norm(states)).square().sum().backward()
    assert states.grad is not None
    assert bool(states.grad.isfinite().all())
    assert bool((states.grad != 0).any())


def test_no_hook_is_left(lm: LM) -> None:
    Head.find(lm)
    assert not any(module._forward_hooks for module in lm.model.modules())


def test_steps_that_are_no_modules_are_refused(helpers) -> None:
    config = MiniCPM3Config(
        **SIZES, qk_rope_head_dim=8, qk_nope_head_dim=8, v_head_dim=8, kv_lora_rank=8, q_lora_rank=8
    )  # divides the normed states by a number of its own
    with pytest.raises(UsageError, match="not a chain of modules"):
        Head.find(opened(config, helpers))


def test_other_functions_of_the_logits_are_refused(lm: LM, monkeypatch) -> None:
    forward = lm.model.forward

    def squared(**arguments: Any) -> Any:
        output = forward(**arguments)
        output.logits = output.logits.square()
        return output

    monkeypatch.setattr(lm.model, "forward", squared)
    with pytest.raises(UsageError, match="scaled or softly capped"):
        Head.find(lm)
