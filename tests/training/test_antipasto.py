"""AntiPaSTO's objective is that of a plain implementation: term by term, in its gradients, and over a training."""

import copy
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from gnomon.lm import LM, Head
from gnomon.methods.antipasto import CODE, PAPER, PUBLISHED, AntiPaSTO
from gnomon.training.antipasto import AntiPaSTOObjective
from gnomon.training.edited import Edited
from gnomon.training.loop import Schedule, train
from gnomon.training.pair_rows import PairRows

PLAIN = Path(__file__).parents[2] / "benchmarks" / "plain_antipasto.py"
PRESETS = {preset.name: preset for preset in (CODE, PAPER, PUBLISHED)}


@pytest.fixture(scope="session")
def plain() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("plain_antipasto", PLAIN)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


def sharper(lm: LM, factor: float) -> LM:
    """The same model with logits so much larger: of its distributions, some can move beyond their limit and some cannot."""
    own = LM(copy.deepcopy(lm.model), lm.tokenizer, name=f"sharper {lm.name}")
    with torch.no_grad():
        Head.find(own).norms[-1].weight.mul_(factor)
    return own


@pytest.fixture(scope="session")
def sharp_lm(tiny_lm: LM) -> LM:
    return sharper(tiny_lm, 6)


@dataclass
class Both:
    """The library's objective and the plain one, on the same batches from the same parameters."""

    method: AntiPaSTO
    ours: AntiPaSTOObjective
    edited: Edited
    plain: Any

    @property
    def late(self) -> int:
        """A step at which all terms have their final weights."""
        return self.method.schedule(self.ours.batches).steps

    def turned(self, size: float, seed: int = 3) -> None:
        """Far from where a training begins: rotations and stretches that distributions notice."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in self.ours.parameters.items():
                parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
                self.plain.parameters[name].copy_(parameter)


def both_of(plain: ModuleType, lm: LM, method: AntiPaSTO, rows: PairRows, seed: int = 0) -> Both:
    ours, edited = method.prepared(lm, rows, seed)
    batches = rows.batches(method.pairs_per_step, seed, validation=False)
    linears = lm.linears()
    other = plain.PlainAntiPaSTO(
        lm.model,
        [linears[base.module] for base in edited.bases],
        edited.bases,
        edited.cores.parameters,
        ours.basis,
        [[(rows.toward[pair], rows.away[pair]) for pair in batch] for batch in batches],
        block=lm.blocks[method.blocks(lm.n_blocks)[2]],
        terms=ours.weights,
        last_tokens=method.last_tokens,
        limit_scale=method.limit_scale,
    )
    assert ours.batches == other.batches
    return Both(method, ours, edited, other)


def small(method: AntiPaSTO, **changed: Any) -> AntiPaSTO:
    return replace(method, **{"rank": 6, "pairs_per_step": 3, "accumulation": 1, "epochs": 5, **changed})


def slopes(term: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    found = torch.autograd.grad(term, parameters.values(), retain_graph=True, allow_unused=True)
    pieces = [
        torch.zeros_like(parameter) if slope is None else slope
        for parameter, slope in zip(parameters.values(), found, strict=True)
    ]
    return torch.cat([piece.flatten() for piece in pieces])


def compare(both: Both, step: int) -> dict[str, float]:
    """All terms of all batches and their gradients at one step; the largest value of each term."""
    largest: dict[str, float] = {}
    with both.edited.attached():
        for batch in range(both.ours.batches):
            ours, plain = both.ours.terms(batch, step), both.plain.terms(batch, step)
            assert set(ours) <= set(plain)
            for name, expected in plain.items():
                wanted = slopes(expected, both.plain.parameters) if expected.requires_grad else None
                if name not in ours:  # left out, because it is nothing
                    assert float(expected.detach()) == 0
                    assert wanted is None or not wanted.any()
                    continue
                torch.testing.assert_close(ours[name], expected, rtol=1e-4, atol=1e-4)
                found = slopes(ours[name], dict(both.ours.parameters))
                assert wanted is not None
                scale = float(wanted.abs().max())
                torch.testing.assert_close(found, wanted, rtol=1e-3, atol=1e-4 * max(scale, 1e-3))
                largest[name] = max(largest.get(name, 0.0), abs(float(expected.detach())))
    return largest


# -- the same numbers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", PRESETS)
def test_every_term_and_its_gradient_is_the_plain_ones(plain, sharp_lm, pair_rows, preset: str) -> None:
    both = both_of(plain, sharp_lm, small(PRESETS[preset]), pair_rows)
    steps = both.late
    names: set[str] = set()
    for size in (None, 0.4):
        if size is not None:
            both.turned(size)
        for step in (0, steps // 10, steps):
            largest = compare(both, step)
            names |= {name for name, value in largest.items() if value > 1e-2}
    assert names == {"projection", "coherence", "monotonic"}


@pytest.mark.parametrize("preset", ["antipasto", "antipasto-paper"])
def test_so_it_is_in_every_family(plain, trained_family: LM, pair_rows, preset: str) -> None:
    both = both_of(plain, sharper(trained_family, 8), small(PRESETS[preset]), pair_rows)
    both.turned(0.4)
    assert all(value > 1e-2 for value in compare(both, both.late).values())


@pytest.mark.parametrize(
    "changed",
    [
        {"last_tokens": 1},
        {"last_tokens": 50},  # more than there are
        {"pairs_per_step": 1},
        {"pairs_per_step": 100},
        {"limit_scale": 0.3},  # every token can move too far
        {"limit_scale": 50.0},  # none can
        {"softness": 0.0},
        {"softness": 1.0},
        {"threshold_scale": 0.0},
        {"coherence": 0.0},
        {"monotonic": 0.0},
        {"loss_depth": 0.25, "edited_from": 0.0},
        {"loss_depth": 0.9, "edited_from": 0.5},
    ],
    ids=str,
)
def test_so_it_is_at_other_settings(plain, sharp_lm, pair_rows, changed: dict[str, Any]) -> None:
    both = both_of(plain, sharp_lm, small(CODE, **changed), pair_rows)
    both.turned(0.4)
    largest = compare(both, both.late)
    assert ("coherence" in largest) == (changed.get("limit_scale") != 50.0)
    assert ("monotonic" in largest) == (changed.get("monotonic") != 0.0)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_training_goes_the_same_way(plain, sharp_lm, pair_rows, preset: str) -> None:
    both = both_of(plain, sharp_lm, small(PRESETS[preset]), pair_rows)
    schedule = Schedule(steps=20, learning_rate=5e-3, weight_decay=1e-4, report_every=1)
    with both.edited.attached():
        ours, expected = (
            train(objective, schedule, seed=0, keep_best=False) for objective in (both.ours, both.plain)
        )
    curves = [
        [sum(value for name, value in step.items() if name != "step") for step in trained.losses]
        for trained in (ours, expected)
    ]
    assert len(curves[0]) == 20
    scale = max(map(abs, curves[1]))
    assert max(abs(a - b) for a, b in zip(*curves, strict=True)) < 1e-4 * scale
    assert curves[0][-1] != pytest.approx(curves[0][0], rel=1e-2)  # it went somewhere
    for name, parameter in both.ours.parameters.items():
        torch.testing.assert_close(parameter, both.plain.parameters[name], rtol=1e-3, atol=1e-4)


def test_the_same_numbers_whether_rows_are_packed_or_not(sharp_lm, pair_rows, monkeypatch) -> None:
    from gnomon.lm import Layout, lay_out
    from gnomon.training import pair_batch

    packed, found, kinds = pair_batch.pack, [], set()

    def whole_rows(lm: LM, rows: list[list[int]], groups: list[list[int]]) -> Layout:
        return Layout(rows, groups, 2, [0] * len(groups), lm.device)

    for layout in (packed, lay_out, whole_rows):

        def pack(lm: LM, rows: list[list[int]], *, groups: list[list[int]], own: Any = layout) -> Layout:
            laid = own(lm, rows, groups=groups)
            kinds.add(type(laid).__name__)
            return laid

        monkeypatch.setattr(pair_batch, "pack", pack)
        ours, edited = small(CODE).prepared(sharp_lm, pair_rows, 0)
        with edited.attached():
            terms = [ours.terms(batch, 10**6) for batch in range(ours.batches)]
            found.append(torch.stack([torch.stack(list(own.values())) for own in terms]).detach())
    assert kinds == {"Packed", "Layout"}
    torch.testing.assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found[0], found[2], rtol=1e-4, atol=1e-5)


# -- what the objective promises ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("preset", ["antipasto", "antipasto-paper"])
def test_what_is_trained_is_the_dial_that_comes_out(sharp_lm, pair_rows, preset: str) -> None:
    """The states that the losses see are those of the rows, each by itself, under the dial at +1 and at -1."""
    method = small(PRESETS[preset])
    ours, edited = method.prepared(sharp_lm, pair_rows, 0)
    with torch.no_grad():
        edited.cores.free.copy_(
            0.3 * torch.randn(edited.cores.free.shape, generator=torch.Generator().manual_seed(1))
        )
        edited.cores.dS.fill_(0.2)
    block, last = method.blocks(sharp_lm.n_blocks)[2], sharp_lm.n_blocks - 1
    batch = ours._training[0]
    chosen = pair_rows.batches(method.pairs_per_step, 0, validation=False)[0]
    rows = [pair_rows.toward[pair] for pair in chosen] + [pair_rows.away[pair] for pair in chosen]
    with edited.attached(), torch.no_grad():
        gaps, final = batch.run(edited, predictions=True)
    for side, alpha in enumerate((1.0, -1.0)):
        with sharp_lm.edited(edited.edits(), alpha, first_token=edited.first_token):
            states = [states_of(sharp_lm, row, (block, last)) for row in rows]
        tails = []
        for row, own in enumerate(states):
            joint = min(len(rows[row]), len(rows[(row + batch.n) % (2 * batch.n)]))
            tails.append(own[block][-min(3, joint) :].mean(0))
        gap = torch.stack(tails[: batch.n]) - torch.stack(tails[batch.n :])
        torch.testing.assert_close(gaps[side], gap, rtol=1e-4, atol=1e-5)
        expected = torch.stack(
            [
                states[row][last][position]
                for row, position in zip(
                    batch.predictions.row.tolist(), batch.predictions.position.tolist(), strict=True
                )
            ]
        )
        torch.testing.assert_close(final[side], expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(gaps[0], gaps[1], atol=1e-2)


def states_of(lm: LM, row: list[int], blocks: tuple[int, ...]) -> dict[int, Tensor]:
    """Outputs of some blocks for one row alone, in the model as it is now."""
    seen: dict[int, Tensor] = {}

    def keep(block: int) -> Any:
        def hook(module: Any, args: Any, output: Any) -> None:
            seen[block] = (output if isinstance(output, Tensor) else output[0])[0].clone()

        return hook

    handles = [lm.blocks[block].register_forward_hook(keep(block)) for block in blocks]
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([row]))
    for handle in handles:
        handle.remove()
    return seen


@pytest.mark.parametrize("preset", ["antipasto", "antipasto-paper"])
def test_turning_all_parameters_round_exchanges_the_signs(sharp_lm, pair_rows, preset: str) -> None:
    """theta -> -theta is alpha -> -alpha: the gaps change places, and losses that see both alike stay."""
    ours, edited = small(PRESETS[preset]).prepared(sharp_lm, pair_rows, 0)
    late = 10**6
    with torch.no_grad():
        for parameter in ours.parameters.values():
            parameter.mul_(8)
    found = []
    for _ in range(2):
        with edited.attached(), torch.no_grad():
            gaps = [batch.run(edited, predictions=False)[0] for batch in ours._training]
            found.append((gaps, [ours.terms(batch, late) for batch in range(ours.batches)]))
            for parameter in ours.parameters.values():
                parameter.neg_()
    (gaps, terms), (turned_gaps, turned_terms) = found
    for one, other in zip(gaps, turned_gaps, strict=True):
        torch.testing.assert_close(one, other.flip(0), rtol=1e-4, atol=1e-6)
    for own, turned in zip(terms, turned_terms, strict=True):
        for name in ("projection", "monotonic"):
            torch.testing.assert_close(own[name], turned[name], rtol=1e-4, atol=1e-5)


def test_an_untrained_edit_moves_nothing_and_asks_for_everything(sharp_lm, pair_rows) -> None:
    """At M = 0: no change to project, no token beyond its limit, and the whole threshold still to go, both ways."""
    ours, edited = small(CODE).prepared(sharp_lm, pair_rows, 0)
    with torch.no_grad():
        for parameter in ours.parameters.values():
            parameter.zero_()
    with edited.attached(), torch.no_grad():
        for index, batch in enumerate(ours._training):
            terms = ours.terms(index, 10**6)
            assert float(terms["projection"]) == pytest.approx(0, abs=1e-4)
            assert float(terms.get("coherence", torch.zeros(()))) == pytest.approx(0, abs=1e-6)
            threshold = 0.5 * batch.entropy.sqrt() + 0.04
            assert float(terms["monotonic"]) == pytest.approx(30 * 2 * float(threshold.mean()), rel=1e-3)


def test_terms_come_in_at_their_steps(sharp_lm, pair_rows) -> None:
    ours, edited = small(PAPER).prepared(sharp_lm, pair_rows, 0)
    begins = {"coherence": ours.weights.coherence_steps[0], "monotonic": ours.weights.monotonic_steps[0]}
    assert 0 < begins["coherence"] < begins["monotonic"]
    with edited.attached(), torch.no_grad():
        for name, begin in begins.items():
            assert name not in ours.terms(0, int(begin) - 1)
            assert name in ours.terms(0, int(begin))


def test_fewer_blocks_run_where_only_the_projection_is_read(sharp_lm, pair_rows) -> None:
    ours, edited = small(PAPER, loss_depth=0.5).prepared(sharp_lm, pair_rows, 0)
    calls: list[int] = []
    handles = [
        block.register_forward_hook(lambda module, args, output, own=place: calls.append(own))
        for place, block in enumerate(sharp_lm.blocks)
    ]
    try:
        with edited.attached(), torch.no_grad():
            for step, last in ((0, 2), (10**6, 3)):
                calls.clear()
                ours.terms(0, step)
                assert max(calls) == last
                assert len(calls) == len(set(calls))  # both signs and all rows in one pass
    finally:
        for handle in handles:
            handle.remove()


def test_the_validation_is_the_final_loss_on_the_held_out_pairs(sharp_lm, pair_rows) -> None:
    method = small(CODE, pairs_per_step=1)  # four at a time in validation
    ours, edited = method.prepared(sharp_lm, pair_rows, 0)
    flipped = replace(pair_rows, validation=tuple(not kept for kept in pair_rows.validation))
    other, _ = small(CODE, pairs_per_step=4).prepared(sharp_lm, flipped, 0)
    other.basis = ours.basis
    with edited.attached(), torch.no_grad():
        found = float(ours.validation())
    assert found != 0
    # The same pairs as training batches, seen with the same basis and edits.
    batches = [
        type(batch).record(
            sharp_lm,
            ours._head,
            pair_rows,
            chosen,
            basis=ours.basis,
            first=0,
            block=2,
            last_tokens=3,
            limit_scale=0.9,
        )
        for batch, chosen in zip(other._training, flipped.batches(4, 0, validation=False), strict=True)
    ]
    trained = AntiPaSTOObjective(sharp_lm, ours._head, edited, ours.basis, batches, [], ours.weights)
    with edited.attached(), torch.no_grad():
        sums = [
            float(torch.stack(list(trained.terms(batch, 10**6).values())).sum())
            for batch in range(len(batches))
        ]
    assert found == pytest.approx(sum(sums) / len(sums), rel=1e-5)
