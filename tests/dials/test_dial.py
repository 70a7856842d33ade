"""What a dial does to a model, against hooks and weights written by hand; algebra; identities."""

import gc
import warnings

import pytest
import torch

from gnomon.dials import AddVector, Dial, FreeCore, LowRank, Prefix, RotationCore, Scale
from gnomon.errors import UsageError

PROMPT = "you are honest . do you like tea ?"


def logits(lm, prompts=(PROMPT,)):
    ids = lm.encode(list(prompts))
    assert len({len(row) for row in ids}) == 1
    with torch.no_grad():
        return lm.model(torch.tensor(ids)).logits


def vector(lm, seed=0):
    return torch.randn(lm.d_model, generator=torch.Generator().manual_seed(seed))


def test_a_vector_dial_equals_a_hook_written_by_hand(tiny_lm) -> None:
    v = vector(tiny_lm)

    def add(module, args, output):
        hidden = output if isinstance(output, torch.Tensor) else output[0]
        changed = hidden.clone()
        changed[:, 1:] += 0.7 * v  # the first token is left alone
        return changed if isinstance(output, torch.Tensor) else (changed, *output[1:])

    handle = tiny_lm.blocks[1].register_forward_hook(add)
    wanted = logits(tiny_lm)
    handle.remove()
    with Dial.from_vector(v, 1, lm=tiny_lm).at(0.7):
        got = logits(tiny_lm)
    assert torch.allclose(got, wanted, atol=1e-5)
    assert not torch.allclose(got, logits(tiny_lm), atol=1e-3)


def test_the_first_token_is_a_field_of_the_dial(tiny_lm) -> None:
    edit = AddVector(0, vector(tiny_lm))
    with Dial((edit,), first_token=True).at(1, tiny_lm):
        with_first = logits(tiny_lm)
    with Dial((edit,)).at(1, tiny_lm):
        without = logits(tiny_lm)
    base = logits(tiny_lm)
    assert torch.equal(without[:, 0], base[:, 0])
    assert not torch.allclose(with_first[:, 0], base[:, 0], atol=1e-3)


@pytest.mark.parametrize("kind", ["free", "rotation"])
def test_a_low_rank_dial_equals_the_changed_weight(tiny_lm, kind) -> None:
    name = next(path for path in tiny_lm.linears() if path.endswith("1.self_attn.o_proj"))
    linear = tiny_lm.linears()[name]
    rank, draw = 3, torch.Generator().manual_seed(0)
    U = torch.linalg.qr(torch.randn(linear.out_features, rank, generator=draw)).Q
    V = torch.linalg.qr(torch.randn(linear.in_features, rank, generator=draw)).Q
    square = torch.randn(rank, rank, generator=draw)
    core = (
        FreeCore(square)
        if kind == "free"
        else RotationCore(torch.rand(rank), torch.rand(rank), square - square.mT)
    )
    dial = Dial((LowRank(name, U, V, core),), first_token=True)
    with dial.at(-0.6, tiny_lm):
        got = logits(tiny_lm)
    before = linear.weight.detach().clone()
    with torch.no_grad():
        linear.weight += U @ core.matrix(-0.6) @ V.mT
    try:
        wanted = logits(tiny_lm)
    finally:
        with torch.no_grad():
            linear.weight.copy_(before)
    assert torch.allclose(got, wanted, atol=1e-4)


def test_alpha_zero_is_bitwise_the_base_model_and_nothing_stays_behind(tiny_lm) -> None:
    dial = Dial.from_vector(vector(tiny_lm), 2, lm=tiny_lm)
    base = logits(tiny_lm)
    with dial.at(0):
        assert torch.equal(logits(tiny_lm), base)
    with pytest.raises(RuntimeError), dial.at(1):
        raise RuntimeError
    assert torch.equal(logits(tiny_lm), base)
    handle = dial.attach(1)
    assert not torch.equal(logits(tiny_lm), base)
    handle.detach()
    handle.detach()
    assert torch.equal(logits(tiny_lm), base)


def test_a_row_has_its_own_coefficient(tiny_lm) -> None:
    dial = Dial.from_vector(vector(tiny_lm), 2, lm=tiny_lm)
    alphas = [1.0, -0.5, 0.0]
    with dial.at(alphas):
        together = logits(tiny_lm, [PROMPT] * 3)
    for row, alpha in enumerate(alphas):
        with dial.at(alpha):
            assert torch.allclose(together[row], logits(tiny_lm)[0], atol=1e-5)


def test_sums_differences_and_multiples_act_as_their_parts(tiny_lm) -> None:
    a = Dial.from_vector(vector(tiny_lm, 1), 1, lm=tiny_lm)
    b = Dial.from_vector(vector(tiny_lm, 2), 1, lm=tiny_lm)
    c = Dial.from_vector(vector(tiny_lm, 3), 2, lm=tiny_lm)
    total = a + 0.5 * b - c
    assert total.scale is None
    assert len(total.edits) == 2  # vectors at one block are one vector
    with total.at(1.5):
        got = logits(tiny_lm)
    with a.at(1.5), b.at(0.75), c.at(-1.5):
        wanted = logits(tiny_lm)
    assert torch.allclose(got, wanted, atol=1e-4)
    with (-a).at(1):
        turned = logits(tiny_lm)
    with a.at(-1):
        assert torch.allclose(turned, logits(tiny_lm), atol=1e-6)


def test_minus_swaps_the_words_and_keeps_the_scale(tiny_lm) -> None:
    dial = Dial(
        (AddVector(0, vector(tiny_lm)),), words=("kind", "cruel"), scale=Scale("kl", 2.0, True, 0.25, 0.25)
    )
    assert (-dial).words == ("cruel", "kind")
    assert (-dial).scale == dial.scale
    assert (2 * dial).scale is None


def test_a_prompt_has_two_positions_and_no_strength(tiny_lm) -> None:
    dial = Dial((Prefix("you are honest .", "you are dishonest ."),))
    with dial.at(1, tiny_lm):
        assert tiny_lm.render("hello") == "you are honest . hello"
    with dial.at(-1, tiny_lm):
        assert tiny_lm.render("hello") == "you are dishonest . hello"
    with dial.at(0, tiny_lm):
        assert tiny_lm.render("hello") == "hello"
    with (-dial).at(1, tiny_lm):
        assert tiny_lm.render("hello") == "you are dishonest . hello"
    with pytest.raises(UsageError, match="no strength"), dial.at(0.5, tiny_lm):
        tiny_lm.render("hello")
    with pytest.raises(UsageError, match="no strength"):
        0.5 * dial


def test_another_architecture_is_refused_and_other_weights_warn(
    tiny_lm, other_tiny_lm, wider_tiny_lm
) -> None:
    dial = Dial.from_vector(vector(tiny_lm), 1, lm=tiny_lm)
    with pytest.raises(UsageError, match="shapes or tokenizer"), dial.at(1, wider_tiny_lm):
        pass
    with pytest.warns(UserWarning, match="other weights"), dial.at(1, other_tiny_lm):
        pass
    with pytest.raises(UsageError, match="other weights"), dial.at(1, other_tiny_lm, strict=True):
        pass
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with dial.at(1, tiny_lm):
            pass


def test_a_dial_does_not_keep_its_model_alive(tiny_lm) -> None:
    from gnomon.lm import LM

    model = LM(tiny_lm.model, tiny_lm.tokenizer, name="short-lived")
    dial = Dial.from_vector(vector(tiny_lm), 1, lm=model)
    del model
    gc.collect()
    with pytest.raises(UsageError, match="no open model"):
        dial.at(1)


def test_a_dial_for_a_block_or_width_that_is_not_there_is_refused(tiny_lm) -> None:
    with pytest.raises(UsageError, match="block 9"), Dial.from_vector(vector(tiny_lm), 9).at(1, tiny_lm):
        pass
    with (
        pytest.raises(UsageError, match="residual stream"),
        Dial.from_vector(torch.ones(3), 1).at(1, tiny_lm),
    ):
        pass
    with pytest.raises(UsageError, match="finite"):
        Dial.from_vector(torch.tensor([1.0, float("nan")]), 0)
    with pytest.raises(UsageError, match="at least one edit"):
        Dial(())


def test_a_dial_says_its_edits_in_a_line_however_many_they_are(tiny_lm) -> None:
    def low_rank(block: int, rank: int = 2) -> LowRank:
        basis = torch.linalg.qr(torch.randn(8, rank))[0]
        return LowRank(f"model.layers.{block}.o_proj", basis, basis, FreeCore(torch.eye(rank)))

    assert Dial((low_rank(0), low_rank(1))).in_words == (
        "rank 2 on model.layers.0.o_proj; rank 2 on model.layers.1.o_proj"
    )
    many = Dial(tuple(low_rank(block) for block in range(40)))
    assert many.in_words == "rank 2 on 40 Linears, model.layers.0.o_proj to model.layers.39.o_proj"
    assert many.in_words in repr(many)
    assert many.in_words in many._repr_html_()
    mixed = Dial((AddVector(1, torch.ones(8)), *(low_rank(block, 1 + block) for block in range(3))))
    assert mixed.in_words.startswith("vector at block 1 (norm 2.83); rank 1 to 3 on 3 Linears, ")
