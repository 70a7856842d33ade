"""Every family: reading and editing equal a reference written by hand, whatever the padding and the cache."""

import pytest
import torch

from gnomon.lm import LM
from gnomon.lm.batches import pad


def test_blocks_are_the_text_decoders(family: LM) -> None:
    assert len(family.blocks) == family.n_blocks == 2
    assert family.d_model == 32
    assert all(not path.startswith("model.vision") for path in family.linears())
    assert family.linears()


@pytest.mark.parametrize("shared", [False, True])
def test_residuals_equal_the_reference(family: LM, helpers, monkeypatch, shared: bool) -> None:
    # At 32 tokens per batch a shared beginning pays off after one token saved.
    monkeypatch.setattr(family, "tokens_per_batch", 32 if shared else 2048)
    if not shared:
        monkeypatch.setitem(vars(family), "caches_expand", False)
    states = family.residuals(helpers.prompts)
    assert states.dtype == torch.float32
    for row, ids in enumerate(family.encode(helpers.prompts)):
        _, expected = helpers.reference(family, ids)
        helpers.assert_close(states[row], expected[:, -1])


def test_shared_beginnings_are_used(family: LM, helpers, monkeypatch) -> None:
    monkeypatch.setattr(family, "tokens_per_batch", 32)
    seen: list[int] = []

    def forward(tokens, rows, **arguments):
        seen.append(tokens.input_ids.numel())
        return LM.forward(family, tokens, rows, **arguments)

    monkeypatch.setattr(family, "forward", forward)
    family.residuals(helpers.prompts)
    if family.name == "qwen3_next":
        assert not family.caches_expand
        return
    assert sum(seen) < sum(map(len, family.encode(helpers.prompts)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("first_token", [False, True])
def test_edited_logits_equal_the_reference(family: LM, helpers, side: str, first_token: bool) -> None:
    edits = [helpers.add_vector(family), helpers.low_rank(family, block=1)]
    ids = family.encode(helpers.prompts)
    tokens = pad(ids, family.device, side=side)
    with torch.no_grad(), family.edited(edits, 0.7, first_token=first_token):
        logits = family.model(
            input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, position_ids=tokens.position_ids
        ).logits
    for row, own in enumerate(ids):
        expected, _ = helpers.reference(family, own, [(edit, 0.7) for edit in edits], first_token)
        plain, _ = helpers.reference(family, own)
        helpers.assert_close(logits[row, tokens.attention_mask[row].bool()], expected)
        assert (expected - plain).abs().max() > 0.05 * plain.abs().max()  # the edit is not too small to see


def test_an_own_coefficient_per_row_equals_separate_runs(family: LM, helpers) -> None:
    edits = [helpers.add_vector(family), helpers.low_rank(family, block=1)]
    alphas = [1.0, -1.0, 0.0, 0.5, 1.0, -1.0, 0.0]
    with family.edited(edits, alphas):
        states = family.residuals(helpers.prompts)
    for row, (ids, alpha) in enumerate(zip(family.encode(helpers.prompts), alphas, strict=True)):
        _, expected = helpers.reference(family, ids, [(edit, alpha) for edit in edits] if alpha else [])
        helpers.assert_close(states[row], expected[:, -1])


def test_at_zero_the_model_is_bitwise_itself(family: LM, helpers) -> None:
    tokens = pad(family.encode(helpers.prompts), family.device, side="left")
    with torch.no_grad():
        base = family.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).logits
        with family.edited([helpers.add_vector(family), helpers.low_rank(family)], 0.0):
            edited = family.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).logits
    assert torch.equal(base, edited)


def test_generation_with_a_cache_equals_a_loop_without(family: LM, helpers, monkeypatch) -> None:
    monkeypatch.setitem(vars(family), "end_tokens", frozenset())
    edits = [helpers.add_vector(family), helpers.low_rank(family, block=1)]
    alphas = [0.8, -0.8, 0.0]
    prompts = [helpers.prompts[0], "a dog", helpers.prompts[3]]
    with family.edited(edits, alphas):
        texts = family.generate(prompts, max_new_tokens=8)
    for text, ids, alpha in zip(texts, family.encode(prompts), alphas, strict=True):
        own = list(ids)
        for _ in range(8):
            logits, _ = helpers.reference(family, own, [(edit, alpha) for edit in edits] if alpha else [])
            own.append(int(logits[-1].argmax()))
        assert text == family.tokenizer.decode(own[len(ids) :], skip_special_tokens=True)


def test_the_callers_own_generate_is_edited(family: LM, helpers) -> None:
    edit = helpers.add_vector(family)
    tokens = pad(family.encode([helpers.prompts[0], "a dog"]), family.device, side="left")
    arguments = {"max_new_tokens": 6, "do_sample": False, "pad_token_id": 0, "eos_token_id": None}
    with family.edited([edit], [0.8, -0.8]):
        ids = family.model.generate(tokens.input_ids, attention_mask=tokens.attention_mask, **arguments)
    for row, alpha in enumerate([0.8, -0.8]):
        own = tokens.input_ids[row][tokens.attention_mask[row].bool()].tolist()
        for token in ids[row, tokens.input_ids.shape[1] :].tolist():
            logits, _ = helpers.reference(family, own, [(edit, alpha)])
            assert token == int(logits[-1].argmax())
            own.append(token)


def test_answers_equal_the_chain_rule(family: LM, helpers) -> None:
    edit = helpers.add_vector(family)
    classes = {"first": ["New York City", "yes"], "second": ["New Yard", "no maybe"]}
    alphas = [0.5, 0.0, -0.5]
    prompts = helpers.prompts[:3]
    with family.edited([edit], alphas):
        answers = family.answers(prompts, classes)
    for row, (ids, alpha) in enumerate(zip(family.encode(prompts), alphas, strict=True)):
        for column, spellings in enumerate(classes.values()):
            total = 0.0
            for spelling in spellings:
                words = family.tokenizer(spelling, add_special_tokens=False)["input_ids"]
                logits, _ = helpers.reference(family, [*ids, *words], [(edit, alpha)] if alpha else [])
                steps = logits.double().log_softmax(-1)[len(ids) - 1 : -1]
                total += float(steps[range(len(words)), words].sum().exp())
            assert answers.log_prob[row, column] == pytest.approx(float(torch.tensor(total).log()), abs=1e-4)


def test_the_model_is_unchanged_after_the_block(family: LM, helpers) -> None:
    before = {name: value.clone() for name, value in family.model.state_dict().items()}
    modules = dict(family.model.named_modules())
    hooks = {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in modules.items()}
    trains = [parameter.requires_grad for parameter in family.model.parameters()]
    side, padding = family.tokenizer.padding_side, family.tokenizer.pad_token_id

    def steered_and_broken() -> None:
        with family.edited([helpers.add_vector(family), helpers.low_rank(family)], 1.0):
            family.residuals(helpers.prompts)
            family.generate(helpers.prompts[0], max_new_tokens=2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        steered_and_broken()
    after = dict(family.model.named_modules())
    assert after.keys() == modules.keys()
    assert all(after[name] is module for name, module in modules.items())
    assert hooks == {name: (len(m._forward_hooks), len(m._forward_pre_hooks)) for name, m in after.items()}
    assert trains == [parameter.requires_grad for parameter in family.model.parameters()]
    assert all(torch.equal(value, before[name]) for name, value in family.model.state_dict().items())
    assert (family.tokenizer.padding_side, family.tokenizer.pad_token_id) == (side, padding)
    assert family.active == []
