"""Linears under training: what is trained is the dial that is applied later, and the model stays what it was."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest
import torch
from torch.func import functional_call
from transformers.pytorch_utils import Conv1D

from gnomon.dials import Dial
from gnomon.lm import LM, Replay, lay_out
from gnomon.training.cores import FreeCores, RotationCores, ScalingCores
from gnomon.training.edited import Edited, computing, singular_bases
from gnomon.training.svd import dense_weight
from gnomon.training.writers import residual_writers

TEXTS = (
    "you are an honest person . the sky is blue .",
    "the cat sat on the mat .",
    "you are an honest person . do you like tea ?",
    "hello",
    "you are an honest person . once upon a time",
)
RANK = 3


def edited_of(lm: LM, kind: str = "free", *, first_token: bool = False) -> Edited:
    """Edits of visible size on all Linears that write to the residual stream."""
    bases = singular_bases(lm, residual_writers(lm, 0, lm.n_blocks - 1), RANK)
    draw = torch.Generator().manual_seed(1)
    modules = len(bases)
    dS = 0.5 * torch.randn(modules, RANK, generator=draw)
    cores: Any = FreeCores(modules, RANK)
    if kind == "free":
        with torch.no_grad():
            cores.K.copy_(torch.randn(modules, RANK, RANK, generator=draw))
    elif kind == "scaling":
        cores = ScalingCores(dS)
    else:
        S = torch.stack([base.S for base in bases])
        cores = RotationCores(S, torch.randn(modules, RANK * (RANK - 1) // 2, generator=draw), dS)
    return Edited(lm, bases, cores, first_token=first_token)


def recorded(lm: LM, rows: Sequence[list[int]]) -> tuple[Replay, dict[int, Any]]:
    layout = lay_out(lm, rows)
    reads = {block: layout.since(0) for block in range(lm.n_blocks)}
    return Replay.record(lm, layout, start=0, reads=reads), reads


def states_of(lm: LM, row: list[int]) -> torch.Tensor:
    """The blocks' outputs of one sequence alone, in the model's own forward as it is now: `[block, position, d_model]`."""
    seen: list[torch.Tensor] = []
    handles = [
        block.register_forward_hook(
            lambda module, args, output: seen.append(
                output if isinstance(output, torch.Tensor) else output[0]
            )
        )
        for block in lm.blocks
    ]
    try:
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([row]))
    finally:
        for handle in handles:
            handle.remove()
    return torch.stack([state[0] for state in seen])


@pytest.mark.parametrize("shares", [False, True], ids=["whole rows", "shared beginnings"])
@pytest.mark.parametrize("first_token", [False, True])
def test_what_is_trained_is_the_dial(
    trained_family: LM, monkeypatch, first_token: bool, shares: bool
) -> None:
    lm = trained_family
    monkeypatch.setattr(lm, "tokens_per_batch", 32 if shares else 10**6)
    rows = lm.encode(TEXTS[::2] if shares else TEXTS)
    edited = edited_of(lm, first_token=first_token)
    replay, reads = recorded(lm, rows)
    assert len(replay.layout.parts) == 1 + shares
    with edited.attached(), torch.no_grad():
        found = edited.run(replay, reads)
    dial = Dial(edited.edits(), first_token=first_token)
    for side, alpha in enumerate((1.0, -1.0)):
        for row, ids in enumerate(rows):
            with dial.at(alpha, lm):
                expected = states_of(lm, ids)
            assert not torch.allclose(expected, states_of(lm, ids), atol=1e-2)
            for block in reads:
                torch.testing.assert_close(
                    found[block][side, row, : len(ids)], expected[block], atol=1e-5, rtol=1e-4
                )


@pytest.mark.parametrize("kind", ["rotation", "scaling"])
def test_every_kind_of_core_is_applied_as_it_is_trained(tiny_lm: LM, kind: str) -> None:
    rows = tiny_lm.encode(TEXTS)
    edited = edited_of(tiny_lm, kind)
    replay, reads = recorded(tiny_lm, rows)
    with edited.attached(), torch.no_grad():
        found = edited.run(replay, reads)[3]
    dial = Dial(edited.edits())
    for side, alpha in enumerate((1.0, -1.0)):
        for row, ids in enumerate(rows):
            with dial.at(alpha, tiny_lm):
                expected = states_of(tiny_lm, ids)[3]
            torch.testing.assert_close(found[side, row, : len(ids)], expected, atol=2e-4, rtol=1e-3)


def test_states_and_gradients_are_those_of_changed_weights(trained_family: LM) -> None:
    """The oracle: W + U M(alpha) V^T in place of W, by hand, in the whole model."""
    lm = trained_family
    rows = lm.encode(TEXTS[:2])
    edited = edited_of(lm, first_token=True)
    replay, reads = recorded(lm, rows)
    draw = torch.Generator().manual_seed(4)
    weights = {ids: torch.randn(2, lm.d_model, generator=draw) for ids in range(len(rows))}
    with edited.attached():
        states = edited.run(replay, reads)[1]
        loss = sum((states[:, row, len(ids) - 1] * weights[row]).sum() for row, ids in enumerate(rows))
        (found,) = torch.autograd.grad(loss, [edited.cores.K])
    expected = torch.zeros(())
    linears = lm.linears()
    for side, alpha in enumerate((1.0, -1.0)):
        changed = {}
        for index, base in enumerate(edited.bases):
            delta = base.U @ (alpha * edited.cores.K[index]) @ base.V.mT
            linear = linears[base.module]
            own = linear.weight.detach()
            changed[f"{base.module}.weight"] = own + (delta.mT if isinstance(linear, Conv1D) else delta)
        for row, ids in enumerate(rows):
            seen: list[torch.Tensor] = []
            handle = lm.blocks[1].register_forward_hook(
                lambda module, args, output, seen=seen: seen.append(
                    output if isinstance(output, torch.Tensor) else output[0]
                )
            )
            functional_call(lm.model, changed, kwargs={"input_ids": torch.tensor([ids])})
            handle.remove()
            expected = expected + (seen[0][0, -1] * weights[row][side]).sum()
            torch.testing.assert_close(states[side, row, len(ids) - 1], seen[0][0, -1], atol=1e-5, rtol=1e-4)
    (wanted,) = torch.autograd.grad(expected, [edited.cores.K])
    assert float(wanted.abs().max()) > 1e-2
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-3)


def test_outside_a_run_the_model_is_bit_for_bit_itself(trained_family: LM) -> None:
    lm = trained_family
    ids = torch.tensor(lm.encode(TEXTS[:1]))
    edited = edited_of(lm, first_token=True)
    replay, reads = recorded(lm, lm.encode(TEXTS[:2]))
    with torch.no_grad():
        before = lm.model(input_ids=ids).logits
        with edited.attached():
            assert torch.equal(lm.model(input_ids=ids).logits, before)
            edited.run(replay, reads)
            assert torch.equal(lm.model(input_ids=ids).logits, before)
        assert torch.equal(lm.model(input_ids=ids).logits, before)


def test_nothing_stays_on_the_model(tiny_lm: LM) -> None:
    edited = edited_of(tiny_lm)
    replay, reads = recorded(tiny_lm, tiny_lm.encode(TEXTS[:2]))
    with edited.attached():
        hooked = [module for module in tiny_lm.model.modules() if module._forward_hooks]
        assert len(hooked) == len(edited.bases)
        assert not any(parameter.requires_grad for parameter in tiny_lm.model.parameters())
        edited.run(replay, reads)[1].sum().backward()
    with pytest.raises(ZeroDivisionError), edited.attached():
        raise ZeroDivisionError
    assert not any(module._forward_hooks for module in tiny_lm.model.modules())
    assert all(parameter.requires_grad for parameter in tiny_lm.model.parameters())
    assert all(parameter.grad is None for parameter in tiny_lm.model.parameters())


def test_an_error_in_a_run_leaves_no_edit_behind(tiny_lm: LM, monkeypatch) -> None:
    edited = edited_of(tiny_lm)
    replay, reads = recorded(tiny_lm, tiny_lm.encode(TEXTS[:2]))
    ids = torch.tensor(tiny_lm.encode(TEXTS[:1]))
    with torch.no_grad(), edited.attached():
        before = tiny_lm.model(input_ids=ids).logits
        with monkeypatch.context() as patch:
            patch.setattr(replay, "_enter", lambda part: setattr(replay, "running", part) or 1 / 0)
            with pytest.raises(ZeroDivisionError):
                edited.run(replay, reads)
        assert torch.equal(tiny_lm.model(input_ids=ids).logits, before)
        found = edited.run(replay, reads)[1]
        assert torch.equal(found, edited.run(replay, reads)[1])


def test_the_leading_singular_directions_are_those_of_the_weights(trained_family: LM) -> None:
    lm = trained_family
    modules = residual_writers(lm, 0, 1)
    for base in singular_bases(lm, modules, RANK):
        weight = dense_weight(lm.linears()[base.module]).detach()
        U, S, V = torch.linalg.svd(weight)
        torch.testing.assert_close(base.S, S[:RANK], atol=1e-5, rtol=1e-4)
        best = U[:, :RANK] @ torch.diag(S[:RANK]) @ V[:RANK]
        torch.testing.assert_close(base.U @ torch.diag(base.S) @ base.V.mT, best, atol=1e-5, rtol=1e-4)
        for basis in (base.U, base.V):
            torch.testing.assert_close(basis.mT @ basis, torch.eye(RANK), atol=1e-5, rtol=0)


def test_one_rank_for_all_and_at_most_what_the_narrowest_has(trained_family: LM) -> None:
    modules = residual_writers(trained_family, 0, 1)
    bases = singular_bases(trained_family, modules, 1000)
    narrowest = min(min(dense_weight(trained_family.linears()[m]).shape) for m in modules)
    assert {len(base.S) for base in bases} == {narrowest}
    assert [base.module for base in bases] == modules


def test_a_bfloat16_model_computes_its_edits_in_bfloat16(tiny_lm: LM) -> None:
    lm = LM(copy.deepcopy(tiny_lm.model).bfloat16(), tiny_lm.tokenizer, name="half")
    edited = edited_of(lm)
    replay, reads = recorded(lm, lm.encode(TEXTS))
    with edited.attached():
        states = edited.run(replay, reads)[3]
        states.float().sum().backward()
    assert states.dtype == torch.bfloat16
    assert edited.cores.K.grad is not None
    assert edited.cores.K.grad.dtype == torch.float32
    full = edited_of(tiny_lm)
    replay, reads = recorded(tiny_lm, tiny_lm.encode(TEXTS))
    with full.attached(), torch.no_grad():
        wanted = full.run(replay, reads)[3]
    assert float((states.detach() - wanted)[:, 0].norm() / wanted[:, 0].norm()) < 0.05


def test_a_cpu_computes_in_the_models_own_dtype(tiny_lm: LM) -> None:
    with computing(tiny_lm):
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.float32
