"""A recorded batch of pairs: every number of it by hand, from the logits and states of each row alone."""

from typing import Any

import pytest
import torch
from torch import Tensor

from gnomon.lm import LM, Head
from gnomon.training.antipasto_start import first_cores
from gnomon.training.edited import Edited, singular_bases
from gnomon.training.pair_batch import PairBatch
from gnomon.training.pair_rows import PairRows
from gnomon.training.vocabulary import IGNORED
from gnomon.training.writers import residual_writers

BLOCK, LAST_TOKENS, LIMIT_SCALE = 2, 3, 0.54
CHOSEN = [0, 2, 4, 6, 8]  # of one template


@pytest.fixture(scope="module")
def basis() -> Tensor:
    return torch.linalg.qr(torch.randn(32, 4, generator=torch.Generator().manual_seed(5)))[0]


def recorded(lm: LM, rows: PairRows, basis: Tensor, chosen: list[int] = CHOSEN, **changed: Any) -> PairBatch:
    settings = {"first": 0, "block": BLOCK, "last_tokens": LAST_TOKENS, "limit_scale": LIMIT_SCALE, **changed}
    return PairBatch.record(lm, Head.find(lm), rows, chosen, basis=basis, **settings)


@torch.no_grad()
def alone(lm: LM, ids: list[int]) -> tuple[Tensor, Tensor]:
    """One row's output of the loss block, and its log-probabilities at every position."""
    seen: list[Tensor] = []
    handle = lm.blocks[BLOCK].register_forward_hook(lambda module, args, output: seen.append(output[0]))
    logits = lm.model(input_ids=torch.tensor([ids])).logits[0]
    handle.remove()
    return seen[0], logits.double().log_softmax(-1)


def test_the_numbers_of_every_pair_by_hand(tiny_lm: LM, pair_rows: PairRows, basis: Tensor) -> None:
    batch = recorded(tiny_lm, pair_rows, basis)
    assert batch.n == len(CHOSEN)
    gaps = []
    for index, pair in enumerate(CHOSEN):
        length = min(len(pair_rows.toward[pair]), len(pair_rows.away[pair]))
        tails, means, entropies = [], [], []
        for ids in (pair_rows.toward[pair], pair_rows.away[pair]):
            states, log_probs = alone(tiny_lm, ids)
            tails.append(states[-min(LAST_TOKENS, length) :].mean(0))
            own = range(len(ids) - length, len(ids))
            scores = [float(log_probs[place, ids[place + 1]]) for place in own if place + 1 < len(ids)]
            means.append(sum(scores) / len(scores))
            entropies.append(-(log_probs.exp() * log_probs).sum(-1)[own.start :])
        gaps.append(tails[0] - tails[1])
        assert float(batch.preference[index]) == pytest.approx(means[0] - means[1], abs=1e-5)
        assert float(batch.entropy[index]) == pytest.approx(float(entropies[0].mean()), rel=1e-5)
        for side, entropy in enumerate(entropies):
            limit = batch.limit[index + side * batch.n, :length]
            wanted = (LIMIT_SCALE * (entropy + 0.02).sqrt()).float()
            torch.testing.assert_close(limit, wanted, rtol=1e-4, atol=1e-5)
    gap = torch.stack(gaps)
    torch.testing.assert_close(batch.gap, gap, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(batch.inside, gap @ basis, rtol=1e-4, atol=1e-5)
    sigma = ((gap @ basis).var(dim=0) + 1e-6).sqrt()
    torch.testing.assert_close(batch.sigma, sigma.clamp_min(0.05), rtol=1e-3, atol=1e-5)


def test_compared_is_what_can_move_too_far_toward_at_plus_and_away_at_minus(
    tiny_lm: LM, pair_rows: PairRows, basis: Tensor
) -> None:
    batch = recorded(tiny_lm, pair_rows, basis)
    narrow = {
        (row, column)
        for row, column in batch.predictions.joint.nonzero().tolist()
        if batch.limit[row, column] < 1
    }
    assert 0 < len(narrow) < int(batch.predictions.joint.sum())
    wanted = torch.zeros_like(batch.compared)
    for row, column in narrow:
        wanted[0 if row < batch.n else 1, batch.predictions.compared_by[row, column]] = True
    assert torch.equal(batch.compared, wanted)
    assert batch.compares
    # What is neither scored nor compared is not read at all.
    scored = batch.predictions.successor != IGNORED
    assert bool((scored | batch.compared.any(0)).all())


def test_where_no_token_can_move_too_far_nothing_is_compared(
    tiny_lm: LM, pair_rows: PairRows, basis: Tensor
) -> None:
    batch = recorded(tiny_lm, pair_rows, basis, limit_scale=50.0)
    assert not batch.compares
    assert bool((batch.predictions.successor != IGNORED).all())


def test_the_reference_is_the_heads_input_at_each_prediction(
    tiny_lm: LM, pair_rows: PairRows, basis: Tensor
) -> None:
    batch = recorded(tiny_lm, pair_rows, basis)
    rows = [pair_rows.toward[pair] for pair in CHOSEN] + [pair_rows.away[pair] for pair in CHOSEN]
    head = Head.find(tiny_lm)
    with torch.no_grad():
        found = head.logits(batch.reference).double().log_softmax(-1)
    places = zip(batch.predictions.row.tolist(), batch.predictions.position.tolist(), strict=True)
    wanted = torch.stack([alone(tiny_lm, rows[row])[1][position] for row, position in places])
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_pair_does_not_depend_on_its_batch(tiny_lm: LM, pair_rows: PairRows, basis: Tensor) -> None:
    together = recorded(tiny_lm, pair_rows, basis)
    for index, pair in enumerate(CHOSEN):
        own = recorded(tiny_lm, pair_rows, basis, [pair])
        for name in ("gap", "inside", "preference", "entropy"):
            torch.testing.assert_close(
                getattr(own, name)[0], getattr(together, name)[index], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("block", [1, BLOCK, 3])
def test_an_edit_of_nothing_gives_the_recorded_gap_at_both_signs(
    tiny_lm: LM, pair_rows: PairRows, basis: Tensor, block: int
) -> None:
    batch = recorded(tiny_lm, pair_rows, basis, block=block)
    bases = singular_bases(tiny_lm, residual_writers(tiny_lm, 0, 1), 4)
    edited = Edited(tiny_lm, bases, first_cores(bases, 0, tiny_lm.device))
    with torch.no_grad():
        for parameter in edited.cores.parameters.values():
            parameter.zero_()
    head = Head.find(tiny_lm)
    with edited.attached(), torch.no_grad():
        gaps, last = batch.run(edited, predictions=True)
        few, none = batch.run(edited, predictions=False)
    assert none is None
    for copy in range(2):
        torch.testing.assert_close(gaps[copy], batch.gap, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(few[copy], batch.gap, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(head.norm(last[copy]), batch.reference, rtol=1e-4, atol=1e-5)
