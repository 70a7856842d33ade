"""Where an edit acts: rows, positions, caches, nesting; and that it never acts on less in silence."""

import pytest
import torch

from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.lm.batches import pad


class Outputs:
    """The outputs of block 0, forward by forward."""

    def __init__(self, lm: LM) -> None:
        self.seen: list[torch.Tensor] = []
        lm.blocks[0].register_forward_hook(
            lambda module, args, output: self.seen.append(output[0] if isinstance(output, tuple) else output)
        )


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("alpha", [0.7, [0.7, 0.0, -0.7]])
def test_padding_is_never_touched(lm: LM, helpers, side: str, alpha) -> None:
    tokens = pad(lm.encode(helpers.prompts[:3]), lm.device, side=side)
    edit = helpers.add_vector(lm)
    outputs = Outputs(lm)
    with torch.no_grad():
        lm.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
        with lm.edited([edit], alpha, first_token=True):
            # The hook that keeps the outputs was there first, so it is put last by hand.
            lm.blocks[0]._forward_hooks.move_to_end(next(iter(lm.blocks[0]._forward_hooks)))
            lm.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask)
    base, edited = outputs.seen
    alphas = torch.tensor([alpha] * 3 if isinstance(alpha, float) else alpha)
    expected = alphas[:, None, None] * edit.vector * tokens.attention_mask[:, :, None]
    assert torch.equal(edited[tokens.attention_mask == 0], base[tokens.attention_mask == 0])
    assert torch.allclose(edited - base, expected, atol=1e-5)


def test_two_contexts_add_up(lm: LM, helpers) -> None:
    first, second = helpers.add_vector(lm, block=0, seed=3), helpers.low_rank(lm, block=1)
    prompts = helpers.prompts[:3]
    with lm.edited([first], [1.0, 0.0, -1.0]), lm.edited([second], 0.5):
        states = lm.residuals(prompts)
    for row, (ids, alpha) in enumerate(zip(lm.encode(prompts), [1.0, 0.0, -1.0], strict=True)):
        edits = [(first, alpha), (second, 0.5)] if alpha else [(second, 0.5)]
        helpers.assert_close(states[row], helpers.reference(lm, ids, edits)[1][:, -1])


def test_a_nested_context_on_the_same_module_adds_up(lm: LM, helpers) -> None:
    a, b = helpers.add_vector(lm, seed=3), helpers.add_vector(lm, seed=4)
    with lm.edited([a], 1.0), lm.edited([b], 2.0):
        nested = lm.residuals(helpers.prompts)
    with lm.edited([a, a, b], 1.0), lm.edited([a], -1.0), lm.edited([b], 1.0):
        together = lm.residuals(helpers.prompts)
    assert torch.allclose(nested, together, atol=1e-5)


def test_gradients_reach_the_edit_with_padding_and_rows_of_their_own(lm: LM, helpers) -> None:
    edit = helpers.low_rank(lm)
    edit.core = edit.core.clone().requires_grad_()
    tokens = pad(lm.encode(helpers.prompts[:3]), lm.device, side="left")
    with lm.edited([edit], [1.0, 0.0, -1.0]):
        logits = lm.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).logits
    logits[:, -1].sum().backward()
    assert edit.core.grad is not None
    assert edit.core.grad.abs().sum() > 0


def test_without_a_mask_every_position_counts_as_real(lm: LM, helpers) -> None:
    edit = helpers.add_vector(lm)
    ids = lm.encode(helpers.prompts[:1])[0]
    with torch.no_grad(), lm.edited([edit], 1.0):
        logits = lm.model(torch.tensor([ids])).logits[0]
        from_the_decoder = lm.model.model(torch.tensor([ids])).last_hidden_state
        embedded = lm.model(inputs_embeds=lm.model.get_input_embeddings()(torch.tensor([ids]))).logits[0]
    expected, _ = helpers.reference(lm, ids, [(edit, 1.0)])
    helpers.assert_close(logits, expected)
    helpers.assert_close(embedded, expected)
    helpers.assert_close(lm.model.lm_head(from_the_decoder)[0], expected)


def test_an_own_mask_may_be_passed_by_position(lm: LM, helpers) -> None:
    edit = helpers.add_vector(lm)
    tokens = pad(lm.encode(helpers.prompts[:2]), lm.device, side="left")
    with torch.no_grad(), lm.edited([edit], 1.0):
        named = lm.model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask).logits
        placed = lm.model(tokens.input_ids, tokens.attention_mask).logits
    assert torch.equal(named, placed)


def test_unknown_padding_is_refused(lm: LM, helpers) -> None:
    tokens = pad(lm.encode(helpers.prompts[:2]), lm.device, side="left")
    four = torch.zeros(2, 1, tokens.input_ids.shape[1], tokens.input_ids.shape[1])
    with lm.edited([helpers.add_vector(lm)], 1.0):
        with pytest.raises(UsageError, match="attention_mask"):
            lm.model(tokens.input_ids, attention_mask=four)
        with pytest.raises(UsageError, match="dynamic cache"):
            lm.model.generate(tokens.input_ids, attention_mask=tokens.attention_mask, max_new_tokens=2,
                              cache_implementation="static")  # fmt: skip
        cache = lm.new_cache()
        lm.model(tokens.input_ids, attention_mask=tokens.attention_mask, past_key_values=cache)
        with pytest.raises(UsageError, match="whole sequence"):
            lm.model(tokens.input_ids[:, -1:], attention_mask=torch.ones(2, 1), past_key_values=cache)
        # After an error the next forward is edited as ever.
        logits = lm.model(tokens.input_ids, attention_mask=tokens.attention_mask).logits
    expected, _ = helpers.reference(lm, lm.encode(helpers.prompts[:2])[1], [(helpers.add_vector(lm), 1.0)])
    helpers.assert_close(logits[1, tokens.attention_mask[1].bool()], expected)


def test_coefficients_that_do_not_match_the_rows_are_refused(lm: LM, helpers) -> None:
    edit = helpers.add_vector(lm)
    with lm.edited([edit], [1.0, -1.0]):
        with pytest.raises(UsageError, match="2 coefficients"):
            lm.model(torch.tensor([[1, 4, 5]] * 3))
        with pytest.raises(UsageError, match="2 coefficients are active for 3 prompts"):
            lm.residuals(helpers.prompts[:3])
        lm.model(torch.tensor([[1, 4, 5]] * 4))
    for wrong in ([], [float("nan")], float("inf")):
        with pytest.raises(UsageError), lm.edited([edit], wrong):
            pass
    assert lm.active == []


def test_several_rows_per_prompt_take_their_prompts_coefficient(lm: LM, helpers) -> None:
    edit = helpers.add_vector(lm)
    ids = lm.encode(["a dog sat", "the cat ran"])
    rows = torch.tensor([ids[0], ids[0], ids[1], ids[1]])
    with torch.no_grad(), lm.edited([edit], [1.0, -1.0]):
        logits = lm.model(rows).logits
    for row, (own, alpha) in enumerate([(ids[0], 1.0), (ids[0], 1.0), (ids[1], -1.0), (ids[1], -1.0)]):
        helpers.assert_close(logits[row], helpers.reference(lm, own, [(edit, alpha)])[0])


@pytest.mark.parametrize("kind", ["add_vector", "low_rank"])
def test_rows_in_any_order_take_their_own_coefficient(lm: LM, helpers, kind: str) -> None:
    edit = getattr(helpers, kind)(lm)
    alphas = [1.0, 0.0, -1.0, 1.0, 0.0]
    ids = lm.encode([f"the {word} sat on the mat" for word in ("cat", "dog", "bird", "tree", "hill")])
    with torch.no_grad(), lm.edited([edit], alphas):
        logits = lm.model(torch.tensor(ids)).logits
    for row, (own, alpha) in enumerate(zip(ids, alphas, strict=True)):
        helpers.assert_close(logits[row], helpers.reference(lm, own, [(edit, alpha)] if alpha else [])[0])


def test_a_beginning_is_not_shared_by_rows_of_different_coefficients(lm: LM, helpers, monkeypatch) -> None:
    edit = helpers.add_vector(lm)
    alphas = [1.0, -1.0, 0.0, 0.5, 1.0, -1.0, 0.0]
    monkeypatch.setattr(lm, "tokens_per_batch", 32)
    with lm.edited([edit], alphas):
        states = lm.residuals(helpers.prompts)
    for row, (ids, alpha) in enumerate(zip(lm.encode(helpers.prompts), alphas, strict=True)):
        expected = helpers.reference(lm, ids, [(edit, alpha)] if alpha else [])[1]
        helpers.assert_close(states[row], expected[:, -1])


def test_a_shared_beginning_is_edited_too(lm: LM, helpers, monkeypatch) -> None:
    edit = helpers.low_rank(lm)
    monkeypatch.setattr(lm, "tokens_per_batch", 32)
    with lm.edited([edit], 1.0):
        states = lm.residuals(helpers.prompts)
    for row, ids in enumerate(lm.encode(helpers.prompts)):
        helpers.assert_close(states[row], helpers.reference(lm, ids, [(edit, 1.0)])[1][:, -1])


def test_a_failing_edit_leaves_no_hook(lm: LM, helpers) -> None:
    class Broken:
        def deltas(self, lm, alpha):
            raise ValueError("broken")

        def prefix(self, alpha):
            return None

    hooks = [len(module._forward_hooks) for module in lm.model.modules()]
    with pytest.raises(ValueError, match="broken"), lm.edited([helpers.add_vector(lm), Broken()], 1.0):
        pass
    assert hooks == [len(module._forward_hooks) for module in lm.model.modules()]
    assert lm.active == []


def test_the_order_of_prompts_does_not_matter(lm: LM, helpers, monkeypatch) -> None:
    monkeypatch.setattr(lm, "tokens_per_batch", 40)
    edit = helpers.add_vector(lm)
    alphas = [1.0, -1.0, 0.0, 0.5, 1.0, -1.0, 0.0]
    with lm.edited([edit], alphas):
        forward = lm.residuals(helpers.prompts)
    with lm.edited([edit], alphas[::-1]):
        backward = lm.residuals(helpers.prompts[::-1])
    assert torch.allclose(forward, backward.flip(0), atol=1e-5)


def test_an_edited_module_that_sees_flat_positions(helpers) -> None:
    lm = LM(helpers.build_model("qwen3_moe"), helpers.build_tokenizer())
    gate = lm.model.get_submodule("model.layers.0.mlp.gate")
    seen = []

    class OnGate:
        def deltas(self, lm, alpha):
            return [(gate, lambda x: seen.append(x.shape) or torch.zeros(1))]

        def prefix(self, alpha):
            return None

    with lm.edited([OnGate()], 1.0):
        lm.residuals(helpers.prompts[:2])
    assert [shape for shape in seen if shape[0] == 2]


# -- mutations: these comparisons fail where the feature is broken ---------------------------------------------------


def largest_difference(lm: LM, helpers) -> float:
    """Between generation-side logits (left-padded batch) and the unpadded reference, relative to the largest."""
    ids = lm.encode(helpers.prompts)
    with torch.no_grad():
        logits = lm.forward(pad(ids, lm.device, side="left"), range(len(ids)))[:, -1]
    expected = torch.stack([helpers.reference(lm, own)[0][-1] for own in ids])
    return float((logits - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize(("name", "dropped"), [("gpt2", "position_ids"), ("llama", "attention_mask")])
def test_dropping_positions_or_mask_would_be_seen(helpers, monkeypatch, name: str, dropped: str) -> None:
    lm = LM(helpers.build_model(name), helpers.build_tokenizer())
    assert largest_difference(lm, helpers) < 1e-5
    inner = lm.model.forward

    def forward(input_ids, **given):
        instead = None if dropped == "position_ids" else torch.ones_like(input_ids)
        return inner(input_ids=input_ids, **(given | {dropped: instead}))

    monkeypatch.setattr(lm.model, "forward", forward)
    assert largest_difference(lm, helpers) > 1e-3


def test_dropping_the_edits_mask_would_be_seen(lm: LM, helpers, monkeypatch) -> None:
    from gnomon.lm.edits import Editing

    monkeypatch.setattr(Editing, "_acting", lambda *arguments: None)
    with pytest.raises(AssertionError):
        test_padding_is_never_touched(lm, helpers, "left", 0.7)
