"""Linears under training through PEFT: what is trained is the dial, it starts as nothing, and the model stays as it was."""

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gnomon.dials import Dial
from gnomon.errors import UsageError
from gnomon.lm import LM, Replay, lay_out
from gnomon.training.adapters import ADAPTERS, Adapted, change_of, low_rank, need_peft, twin
from gnomon.training.loop import Schedule, train
from gnomon.training.writers import residual_writers

TEXTS = ("you are an honest person . the sky is blue .", "the cat sat on the mat .", "hello")


def adapted_of(lm: LM, kind: str, *, width: float = 0.2, seed: int = 0) -> Adapted:
    return Adapted(lm, residual_writers(lm, 0, lm.n_blocks - 1), kind, rank=3, width=width, seed=seed)


def recorded(lm: LM) -> tuple[Replay, dict[int, Any], list[list[int]]]:
    rows = lm.encode(TEXTS)
    layout = lay_out(lm, rows)
    reads = {lm.n_blocks - 1: layout.since(0)}
    return Replay.record(lm, layout, start=0, reads=reads), reads, rows


def last_states(lm: LM, row: list[int]) -> Tensor:
    """The last block's output of one sequence in the model's own forward: `[position, d_model]`."""
    seen: list[Tensor] = []
    handle = lm.blocks[-1].register_forward_hook(
        lambda module, args, output: seen.append(output if isinstance(output, Tensor) else output[0])
    )
    try:
        with torch.no_grad():
            lm.model(input_ids=torch.tensor([row]))
    finally:
        handle.remove()
    return seen[0][0]


# -- the dial is what was trained --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ADAPTERS)
def test_what_is_trained_is_the_dial(trained_family: LM, kind: str) -> None:
    lm = trained_family
    adapted = adapted_of(lm, kind, width=0.5)
    replay, reads, rows = recorded(lm)
    with adapted.attached(), torch.no_grad():
        found = adapted.run(replay, reads)[lm.n_blocks - 1]
    dial = Dial(adapted.edits(), first_token=adapted.first_token)
    for side, alpha in enumerate((1.0, -1.0)):
        for row, ids in enumerate(rows):
            with dial.at(alpha, lm):
                expected = last_states(lm, ids)
            assert not torch.allclose(expected, last_states(lm, ids), atol=1e-2)
            torch.testing.assert_close(found[side, row, : len(ids)], expected, atol=1e-4, rtol=1e-4)


def by_hand(kind: str, W: Tensor, layer: Any) -> Tensor:
    """The adapted weight as the papers write it, from PEFT's parameters."""
    own = {
        name.split(".")[0]: value.double() for name, value in layer.named_parameters() if "base" not in name
    }
    if kind in ("lora", "dora"):
        sum_ = W + own["lora_B"] @ own["lora_A"]
        return (
            sum_
            if kind == "lora"
            else own["lora_magnitude_vector"][:, None] * sum_ / sum_.norm(dim=1, keepdim=True)
        )
    if kind == "ia3":
        return W * own["ia3_l"].view(1, -1)
    if kind == "vera":
        A, B = layer.vera_A["default"].double(), layer.vera_B["default"].double()
        return W + own["vera_lambda_b"][:, None] * B[: len(W)] @ (
            own["vera_lambda_d"][:, None] * A[:, : W.shape[1]]
        )
    # RoAD: within a group, output i and output i + g / 2 are turned by an angle and stretched.
    half, turned = layer.group_size["default"] // 2, W.clone()
    for pair, (theta, size) in enumerate(zip(own["road_theta"], own["road_alpha"], strict=True)):
        first = pair // half * 2 * half + pair % half
        second = first + half
        turned[first] = size * (theta.cos() * W[first] - theta.sin() * W[second])
        turned[second] = size * (theta.sin() * W[first] + theta.cos() * W[second])
    return turned


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_change_of_a_weight_by_hand(tiny_lm: LM, kind: str) -> None:
    adapted = adapted_of(tiny_lm, kind)
    linears = tiny_lm.linears()
    for module, layer in zip(adapted.modules, adapted._layers, strict=True):
        W = linears[module].weight.double()
        torch.testing.assert_close(change_of(layer), by_hand(kind, W, layer) - W, atol=1e-7, rtol=1e-6)


def test_only_as_many_ranks_as_needed(tiny_lm: LM) -> None:
    ranks = {kind: {edit.core.rank for edit in adapted_of(tiny_lm, kind).edits()} for kind in ADAPTERS}
    assert ranks.pop("lora") == {3}
    assert set(map(frozenset, ranks.values())) == {frozenset({tiny_lm.d_model})}


@pytest.mark.parametrize("shape", [(12, 7), (7, 12)])
@pytest.mark.parametrize("rank", [0, 1, 3, 7])
def test_a_planted_rank_is_found(shape: tuple[int, int], rank: int) -> None:
    draw = torch.Generator().manual_seed(rank)
    left, right = (torch.randn(n, rank, generator=draw, dtype=torch.float64) for n in shape)
    change = 1e-3 * left @ right.mT
    edit = low_rank("somewhere", change)
    assert edit.core.rank == max(rank, 1)
    torch.testing.assert_close(
        (edit.U @ edit.core.matrix(1.0) @ edit.V.mT).double(), change, atol=1e-8, rtol=1e-5
    )
    for basis in (edit.U, edit.V):
        torch.testing.assert_close(basis.mT @ basis, torch.eye(max(rank, 1)), atol=1e-5, rtol=0)


# -- how it begins -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ADAPTERS)
def test_without_noise_it_begins_as_nothing(tiny_lm: LM, kind: str) -> None:
    adapted = adapted_of(tiny_lm, kind, width=0.0)
    replay, reads, _ = recorded(tiny_lm)
    with adapted.attached(), torch.no_grad():
        found = adapted.run(replay, reads)
    for block, states in found.items():
        torch.testing.assert_close(states, replay.reference[block].expand_as(states), atol=1e-5, rtol=0)
    for layer, edit in zip(adapted._layers, adapted.edits(), strict=True):
        assert float(change_of(layer).norm() / layer.get_base_layer().weight.norm()) < 1e-6
        assert float(edit.core.matrix(1.0).abs().max()) < 1e-5


@pytest.mark.parametrize("kind", ADAPTERS)
def test_its_start_comes_from_the_seed_and_leaves_the_users_random_state(tiny_lm: LM, kind: str) -> None:
    torch.manual_seed(5)
    first, before = adapted_of(tiny_lm, kind, seed=1), torch.random.get_rng_state()
    torch.manual_seed(6)
    again, other = (adapted_of(tiny_lm, kind, seed=seed) for seed in (1, 2))
    torch.manual_seed(5)
    assert torch.equal(before, torch.random.get_rng_state())
    for one, two, three in zip(*(change(each) for each in (first, again, other)), strict=True):
        assert torch.equal(one, two)
        assert not torch.allclose(one, three, atol=1e-4)


def change(adapted: Adapted) -> list[Tensor]:
    return [change_of(layer) for layer in adapted._layers]


def test_the_rank_is_at_most_what_the_narrowest_linear_has(tiny_lm: LM) -> None:
    modules = residual_writers(tiny_lm, 0, 0)
    adapted = Adapted(tiny_lm, modules, "lora", rank=1000, width=0.1, seed=0)
    assert {edit.core.rank for edit in adapted.edits()} == {tiny_lm.d_model}


# -- the model stays what it was ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ADAPTERS)
def test_the_model_is_left_alone(tiny_lm: LM, kind: str) -> None:
    modules = dict(tiny_lm.model.named_modules())
    before = {name: value.clone() for name, value in tiny_lm.model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in tiny_lm.model.parameters()]
    adapted = adapted_of(tiny_lm, kind)
    replay, reads, rows = recorded(tiny_lm)
    with adapted.attached():
        plain = last_states(tiny_lm, rows[0])  # outside of `run` nothing is added
        (states,) = adapted.run(replay, reads).values()
        states[0].square().sum().backward()
    torch.testing.assert_close(plain, last_states(tiny_lm, rows[0]), atol=0, rtol=0)
    assert all(
        parameter.grad is not None and parameter.grad.any() for parameter in adapted.parameters.values()
    )
    assert all(parameter.grad is None for parameter in tiny_lm.model.parameters())
    assert [parameter.requires_grad for parameter in tiny_lm.model.parameters()] == flags
    assert dict(tiny_lm.model.named_modules()) == modules
    assert not any(module._forward_hooks for module in tiny_lm.linears().values())
    assert all(torch.equal(value, before[name]) for name, value in tiny_lm.model.state_dict().items())


def test_a_twin_shares_the_weight(trained_family: LM) -> None:
    for linear in list(trained_family.linears().values())[:3]:
        assert twin(linear).weight.data_ptr() == linear.weight.data_ptr()


@pytest.mark.parametrize("kind", ADAPTERS)
def test_in_half_precision_the_parameters_are_float32(kind: str) -> None:
    lm = LM.load("touchstone:honesty", dtype="bfloat16")
    adapted = Adapted(lm, residual_writers(lm, 0, 0), kind, rank=4, width=0.1, seed=0)
    layout = lay_out(lm, [[1, 5, 6, 7]])
    reads = {0: layout.since(0)}
    replay = Replay.record(lm, layout, start=0, reads=reads)
    with adapted.attached():
        adapted.run(replay, reads)[0][0].float().square().sum().backward()
    for parameter in adapted.parameters.values():
        assert parameter.dtype == torch.float32
        assert parameter.grad is not None
        assert bool(parameter.grad.isfinite().all())


# -- training ----------------------------------------------------------------------------------------------------------


class Toward:
    """The last block's output at +1 is to be one vector, and at -1 its mirror."""

    batches = 1

    def __init__(self, lm: LM, kind: str) -> None:
        self.adapted = adapted_of(lm, kind, width=0.0)
        self.replay, self.reads, _ = recorded(lm)
        self.parameters = self.adapted.parameters

    def terms(self, batch: int, step: int) -> dict[str, Tensor]:
        (states,) = self.adapted.run(self.replay, self.reads).values()
        return {"distance": (states[0] - states[1] - 1).square().mean()}

    def validation(self) -> Tensor:
        return self.terms(0, 0)["distance"]


@contextmanager
def killed_after(step: int) -> Iterator[Any]:
    @contextmanager
    def progress(stage: str, total: int | None) -> Iterator[Any]:
        done = 0

        def advance(count: int, said: str = "") -> None:
            nonlocal done
            done += count
            if done >= step:
                raise KeyboardInterrupt

        yield advance

    yield progress


@pytest.mark.parametrize("kind", ADAPTERS)
def test_a_killed_training_ends_in_the_same_bits(tiny_lm: LM, tmp_path: Path, kind: str) -> None:
    schedule = Schedule(steps=6, learning_rate=0.02, validate_every=3, report_every=1, checkpoint_every=2)
    ends = []
    for folder in (None, tmp_path):
        if folder is not None:
            first = Toward(tiny_lm, kind)
            with first.adapted.attached(), killed_after(5) as progress, pytest.raises(KeyboardInterrupt):
                train(first, schedule, seed=0, folder=folder, progress=progress)
        objective = Toward(tiny_lm, kind)
        before = float(objective.validation().detach())
        with objective.adapted.attached():
            trained = train(objective, schedule, seed=0, folder=folder)
        assert trained.best < before
        ends.append(change(objective.adapted))
    for one, two in zip(*ends, strict=True):
        assert torch.equal(one, two)


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_without_peft_the_extra_is_named(tiny_lm: LM, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs the package peft: .*gnomon\[adapters\]"):
        need_peft()
    with pytest.raises(UsageError, match="needs the package peft"):
        adapted_of(tiny_lm, "lora")
