"""Strength without labels: the KL of a dial against a sum over the vocabulary by hand, both calibrations, their limits."""

import numpy as np
import pytest
import torch

from gnomon.contrast import read_pairs
from gnomon.dials import AddVector, Dial, KLCurve, Prefix, kl_curve, mean_kl, scaled_to_match, turned_down
from gnomon.errors import UsageError
from gnomon.methods import MeanDifference, RandomDirection


@pytest.fixture(scope="module")
def neutral(tiny_lm):
    return tiny_lm.sample_neutral(24, max_tokens=12, seed=0)


@pytest.fixture(scope="module")
def states(tiny_lm, tiny_contrast):
    return read_pairs(tiny_lm, tiny_contrast.resolve(tiny_lm))


def test_mean_kl_is_the_average_over_positions_of_both_signs(tiny_lm, neutral) -> None:
    dial = Dial.from_vector(torch.ones(tiny_lm.d_model), 1, lm=tiny_lm)
    total, positions = 0.0, 0
    for sample in neutral:
        ids = torch.tensor([[1, *sample.tokens]])  # <s>, then the model's own tokens

        def log_probs(ids=ids):
            with torch.no_grad():
                return tiny_lm.model(ids).logits[0, 1:].double().log_softmax(-1)

        base = log_probs()
        for sign in (1, -1):
            with dial.at(sign * 0.5):
                total += float((base.exp() * (base - log_probs())).sum()) / 2
        positions += len(sample.tokens)
    assert mean_kl(dial, tiny_lm, neutral, [0.5])[0] == pytest.approx(total / positions, rel=1e-4)


def test_a_dial_is_scaled_to_its_budget_and_says_so(tiny_lm, neutral) -> None:
    dial = Dial.from_vector(
        torch.randn(tiny_lm.d_model, generator=torch.Generator().manual_seed(1)), 1, lm=tiny_lm
    )
    for asked in (0.02, 0.25):
        scaled = dial.scaled(tiny_lm, kl=asked)
        assert scaled.scale.reached
        assert scaled.scale.kl == pytest.approx(asked, rel=0.02)
        assert mean_kl(scaled, tiny_lm, tiny_lm.sample_neutral())[0] == pytest.approx(asked, rel=0.02)


def test_a_budget_out_of_reach_is_marked(tiny_lm) -> None:
    # So short a vector does nothing, at sixty-four times its length too.
    scaled = Dial.from_vector(torch.full((tiny_lm.d_model,), 1e-7), 1, lm=tiny_lm).scaled(tiny_lm, kl=0.25)
    assert not scaled.scale.reached
    assert scaled.scale.factor == pytest.approx(64)


def test_the_curve_of_a_dial_has_a_point_near_every_budget(tiny_lm, neutral) -> None:
    dial = Dial.from_vector(torch.ones(tiny_lm.d_model) / 4, 1, lm=tiny_lm)
    curve = kl_curve(dial, tiny_lm, [0.01, 0.1], neutral)
    assert np.all(np.diff(curve.factors) > 0)
    for budget in (0.01, 0.1):
        assert np.abs(np.log(curve.kl / budget)).min() < 0.7


def test_factor_for_follows_a_power_law_exactly() -> None:
    factors = np.array([0.5, 1.0, 2.0])
    curve = KLCurve(factors, 0.3 * factors**2)
    for wanted in (0.01, 0.3, 0.7, 9.0):
        assert curve.factor_for(wanted) == pytest.approx((wanted / 0.3) ** 0.5)


def test_a_matched_dial_moves_the_reading_block_as_far_as_the_words_do(
    tiny_lm, tiny_contrast, states
) -> None:
    block = states.reading_block
    gap = states.half_gap(block, validation=True)
    for method in (MeanDifference(), MeanDifference(block=max(block - 1, 0))):
        matched = scaled_to_match(method.fit(tiny_lm, tiny_contrast, states=states), tiny_lm, states)
        plain = list(states.plain_validation)
        with matched.at(1):
            up = tiny_lm.residuals(plain, blocks=[block])[:, 0]
        with matched.at(-1):
            down = tiny_lm.residuals(plain, blocks=[block])[:, 0]
        moved = float(((up - down) / 2 @ (gap / gap.norm())).mean())
        assert moved == pytest.approx(float(gap.norm()), rel=0.02)
        assert matched.scale.reached


def test_a_direction_that_hardly_points_there_is_turned_further_or_marked(
    tiny_lm, tiny_contrast, states
) -> None:
    dial = RandomDirection().fit(tiny_lm, tiny_contrast, states=states)
    matched = scaled_to_match(dial, tiny_lm, states)
    assert matched.scale.factor > 1
    beyond = Dial((AddVector(tiny_lm.n_blocks - 1, torch.ones(tiny_lm.d_model)),)).bound(tiny_lm)
    if states.reading_block < tiny_lm.n_blocks - 1:
        assert not scaled_to_match(beyond, tiny_lm, states).scale.reached


def test_a_prompt_is_measured_behind_its_prefix_and_never_scaled(tiny_lm, neutral) -> None:
    dial = Dial((Prefix("you are honest .", "you are dishonest ."),)).bound(tiny_lm)
    scaled = dial.scaled(tiny_lm, kl=0.25)
    assert scaled.edits == dial.edits
    assert scaled.scale.kl > 0
    sample = neutral[0]
    base_ids = torch.tensor([tiny_lm.encode([""])[0] + list(sample.tokens)])
    n = len(sample.tokens)
    total = 0.0
    with torch.no_grad():
        base = tiny_lm.model(base_ids).logits[0, -n:].double().log_softmax(-1)
        for text in ("you are honest .", "you are dishonest ."):
            ids = torch.tensor([tiny_lm.encode([text])[0] + list(sample.tokens)])
            steered = tiny_lm.model(ids).logits[0, -n:].double().log_softmax(-1)
            total += float((base.exp() * (base - steered)).sum()) / 2
    assert mean_kl(dial, tiny_lm, [sample])[0] == pytest.approx(total / n, rel=1e-4)


def test_a_budget_that_is_no_number_of_nats_is_refused(tiny_lm) -> None:
    dial = Dial.from_vector(torch.ones(tiny_lm.d_model), 0, lm=tiny_lm)
    with pytest.raises(UsageError, match="positive number of nats"):
        dial.scaled(tiny_lm, kl=-1)
    with pytest.raises(UsageError, match="exactly one"):
        dial.scaled(tiny_lm)


def test_a_dial_that_brings_about_refusals_is_turned_down_to_where_it_does_not(
    tiny_lm, states, monkeypatch
) -> None:
    # A model that refuses on the away side from half of the dial's scale on.
    dial = Dial.from_vector(torch.ones(tiny_lm.d_model), 1, lm=tiny_lm)

    def refuses(prompts):
        alphas = [tiny_lm.alphas_of(row) for row in range(len(prompts))]
        return np.array([0.9 if row and row[0] < -0.5 else 0.001 for row in alphas])

    monkeypatch.setattr(tiny_lm, "refusal_mass", refuses, raising=False)
    lower = turned_down(dial, tiny_lm, states)
    assert lower.scale.factor == 0.5
    assert torch.allclose(lower.edits[0].vector, dial.edits[0].vector / 2)
    monkeypatch.setattr(tiny_lm, "refusal_mass", lambda prompts: np.full(len(prompts), np.nan))
    assert turned_down(dial, tiny_lm, states) is dial  # not measured: nothing is done in silence
