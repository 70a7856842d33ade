"""Blocks that are found, identities, memory that runs out, progress."""

import pytest
import torch
from torch import nn

from gnomon.errors import Failure, UsageError
from gnomon.lm import LM


def test_blocks_by_their_path(helpers) -> None:
    model = helpers.build_model("gemma3_vision")
    found = LM(model, helpers.build_tokenizer())
    named = LM(model, helpers.build_tokenizer(), blocks="model.vision_tower.encoder.layers")
    assert found.blocks == tuple(model.model.language_model.layers)
    assert named.blocks == tuple(model.model.vision_tower.encoder.layers)


def test_blocks_that_are_not_found_say_what_was_looked_for(helpers) -> None:
    model = helpers.build_model("llama")
    model.config.num_hidden_layers = 5
    with pytest.raises(UsageError, match=r"one list of 5 blocks .* LlamaModel and found none.*blocks="):
        LM(model, helpers.build_tokenizer())
    model = helpers.build_model("llama")
    model.model.more = nn.ModuleList([nn.Identity(), nn.Identity()])
    with pytest.raises(UsageError, match="found layers, more"):
        LM(model, helpers.build_tokenizer())


def test_an_opened_model_is_in_eval_mode_and_keeps_its_gradients(helpers) -> None:
    model = helpers.build_model("llama").train()
    model.lm_head.weight.requires_grad_(False)
    lm = LM(model, helpers.build_tokenizer())
    assert not model.training
    assert [name for name, p in model.named_parameters() if not p.requires_grad] == ["lm_head.weight"]
    lm.residuals(helpers.prompts)
    assert not lm.residuals(helpers.prompts).requires_grad


def test_the_architecture_is_shapes_and_vocabulary(helpers) -> None:
    lm, same = (LM(helpers.build_model("llama", seed), helpers.build_tokenizer()) for seed in (0, 1))
    assert lm.architecture_id == same.architecture_id
    assert lm.weights_id() != same.weights_id()
    others = [
        LM(helpers.build_model("qwen2"), helpers.build_tokenizer()),
        LM(helpers.build_model("llama"), helpers.build_tokenizer(eos_token="<end>")),
    ]
    assert len({lm.architecture_id, *(other.architecture_id for other in others)}) == 3


def test_the_weights_id_reads_the_named_linears_only(lm: LM) -> None:
    path = "model.layers.0.mlp.down_proj"
    before, named, everything = (
        lm.weights_id(["model.layers.1.mlp.up_proj"]),
        lm.weights_id([path]),
        lm.weights_id(),
    )
    with torch.no_grad():
        lm.linears()[path].weight[0, 0] += 1
    assert lm.weights_id(["model.layers.1.mlp.up_proj"]) == before
    assert lm.weights_id([path]) != named
    assert lm.weights_id() != everything
    half = lm.weights_id([path])
    lm.model.double()
    assert lm.weights_id([path]) == half
    with pytest.raises(UsageError, match="no Linear 'lm_head'"):
        lm.weights_id(["lm_head"])


def test_blocks_are_read_in_the_order_asked_and_the_forward_stops(lm: LM, helpers) -> None:
    ran = []
    lm.model.lm_head.register_forward_hook(lambda *arguments: ran.append("head"))
    lm.blocks[1].register_forward_hook(lambda *arguments: ran.append("block 1"))
    everything = lm.residuals(helpers.prompts)
    assert "head" not in ran
    assert torch.equal(lm.residuals(helpers.prompts, blocks=[1, 0]), everything[:, [1, 0]])
    ran.clear()
    assert torch.allclose(lm.residuals(helpers.prompts, blocks=[0]), everything[:, :1], atol=1e-6)
    assert ran == []


@pytest.mark.parametrize("blocks", [[2], [-1], []])
def test_blocks_that_are_not_there(lm: LM, blocks) -> None:
    with pytest.raises(UsageError, match="block"):
        lm.residuals(["the cat"], blocks=blocks)


def test_no_prompts_give_no_rows(lm: LM) -> None:
    assert lm.residuals([]).shape == (0, 2, 32)
    assert len(lm.answers([], {"a": ["yes"], "b": ["no"]})) == 0


def test_progress_counts_every_prompt(lm: LM, helpers, monkeypatch) -> None:
    monkeypatch.setattr(lm, "tokens_per_batch", 32)
    for run in (
        lambda progress: lm.residuals(helpers.prompts, progress=progress),
        lambda progress: lm.answers(helpers.prompts, {"a": ["yes"], "b": ["no"]}, progress=progress),
    ):
        seen: list[tuple[int, int]] = []
        run(lambda done, total, seen=seen: seen.append((done, total)))
        assert seen[-1] == (7, 7)
        assert [done for done, _ in seen] == sorted({done for done, _ in seen})


@pytest.mark.parametrize("fits", [1, 2, 3])
def test_a_batch_that_does_not_fit_is_halved(lm: LM, helpers, monkeypatch, fits: int) -> None:
    classes = {"a": ["New York City"], "b": ["no"]}
    edit = helpers.add_vector(lm)
    alphas = [1.0, -1.0, 0.0, 0.5, 1.0, -1.0, 0.0]
    monkeypatch.setitem(vars(lm), "caches_expand", False)

    def everything():
        with lm.edited([edit], alphas):
            return (
                lm.residuals(helpers.prompts),
                lm.answers(helpers.prompts, classes),
                # Few tokens: this random model comes upon exact ties later, which the batch size decides.
                lm.generate(helpers.prompts, max_new_tokens=16),
            )

    states, answers, texts = everything()
    inner = lm.model.forward

    def forward(input_ids, **arguments):
        if len(input_ids) > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return inner(input_ids=input_ids, **arguments)

    monkeypatch.setattr(lm.model, "forward", forward)
    budget = lm.tokens_per_batch
    fewer, same, again = everything()
    assert lm.settings["tokens_per_batch"] == lm.tokens_per_batch < budget
    helpers.assert_close(fewer, states)
    assert abs(same.log_prob - answers.log_prob).max() < 1e-5
    assert again == texts


def test_one_prompt_that_does_not_fit_is_a_failure(lm: LM, monkeypatch) -> None:
    def forward(**arguments):
        raise RuntimeError("[enforce fail] not enough memory: you tried to allocate 9 bytes")

    monkeypatch.setattr(lm.model, "forward", forward)
    with pytest.raises(Failure, match="does not fit into memory"):
        lm.residuals(["the cat"])


def test_another_runtime_error_is_not_taken_for_memory(lm: LM, monkeypatch) -> None:
    def forward(**arguments):
        raise RuntimeError("shapes do not match")

    monkeypatch.setattr(lm.model, "forward", forward)
    with pytest.raises(RuntimeError, match="shapes"):
        lm.residuals(["the cat", "a dog"])


def test_repr_says_what_is_open(lm: LM) -> None:
    assert repr(lm) == "LM('tiny', 2 blocks x 32, torch.float32, cpu)"
