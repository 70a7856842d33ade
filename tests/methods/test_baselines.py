"""Baselines: named settings of AntiPaSTO that train, end in a dial like any other, and begin where a gradient is."""

import importlib.util
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gnomon.bench.settings import BASELINE_METHODS, KNOWN_METHODS
from gnomon.contrast import Contrast, PairStates, read_pairs
from gnomon.dials import Dial
from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.methods import METHODS, AntiPaSTO, Shift, named
from gnomon.methods.antipasto import CODE
from gnomon.methods.baselines import BASELINES
from gnomon.training.adapters import ADAPTERS
from gnomon.training.kinds import FREE, KINDS, ROTATION, trainable
from gnomon.training.pair_rows import PairRows

pytestmark = pytest.mark.filterwarnings("ignore:the 12 suffixes are alike")
SMALL = {"rank": 6, "epochs": 4, "edited_from": 0.0, "subspace_rank": 3}
SHIFT = {"rank": 6, "continued": 0, "rows": 6, "steps": 4, "sides": "both", "edited": (0, 1), "targets": (2,)}


@pytest.fixture(scope="module")
def tiny_states(tiny_lm: LM, tiny_contrast: Contrast) -> PairStates:
    return read_pairs(tiny_lm, tiny_contrast.resolve(tiny_lm))


def test_the_names_are_those_of_the_command_line() -> None:
    assert tuple(baseline.name for baseline in BASELINES) == BASELINE_METHODS
    assert list(METHODS) == [name for name in KNOWN_METHODS if name in METHODS]
    assert set(METHODS) == set(KNOWN_METHODS)


def test_a_baseline_is_the_published_setting_but_for_what_it_is_named_after() -> None:
    for baseline in BASELINES:
        differing = {
            field for field in CODE.__dataclass_fields__ if getattr(CODE, field) != getattr(baseline, field)
        }
        assert differing == {
            "name",
            "projection" if baseline.name in ("antipasto-dpo", "antipasto-ipo") else "adapter",
        }


@pytest.mark.parametrize("baseline", BASELINES, ids=lambda one: one.name)
def test_every_baseline_ends_in_a_dial_that_moves_and_is_saved(
    baseline: AntiPaSTO, tiny_lm: LM, tiny_contrast: Contrast, tiny_states: PairStates, tmp_path: Path
) -> None:
    dial = replace(baseline, **SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states)
    assert dial.name == baseline.name
    assert dial.notes["adapter"] == baseline.adapter
    again = Dial.load(dial.save(tmp_path / "dial"))
    prompts = ["the sky is blue .", "do you like tea ?"]
    block = dial.notes["loss block"]
    plain = tiny_lm.residuals(prompts, blocks=[block])
    for alpha in (1.0, -1.0):
        states = []
        for one in (dial, again):
            with one.at(alpha, tiny_lm):
                states.append(tiny_lm.residuals(prompts, blocks=[block]))
        assert torch.equal(*states)
        assert float((states[0] - plain).norm() / plain.norm()) > 1e-3


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != ROTATION])
def test_shift_trains_every_kind_and_begins_without_a_change(
    kind: str, tiny_lm: LM, tiny_contrast: Contrast, tiny_states: PairStates
) -> None:
    method = named("shift", {**SHIFT, "adapter": kind})
    dial = method.fit(tiny_lm, tiny_contrast, states=tiny_states)
    assert dial.notes["adapter"] == kind
    # Every position of every text is at its target or as far from it as the untrained model, whose loss is 2.
    assert dial.notes["validation loss"] < 1.99


# -- where a gradient is -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [FREE, *ADAPTERS])
def test_a_start_without_a_change_has_a_dead_gradient_and_the_shaken_one_has_not(
    kind: str, tiny_lm: LM, tiny_contrast: Contrast
) -> None:
    """The projection loss is a product of what +1 and -1 change: where both are nothing, so is every derivative."""
    rows = PairRows.of(tiny_lm, tiny_contrast.resolve(tiny_lm))
    method = replace(CODE, adapter=kind, **SMALL)
    objective, shaken = method.prepared(tiny_lm, rows, 0)
    still = trainable(
        tiny_lm,
        kind,
        shaken.modules,
        lambda: shaken.bases,
        rank=method.rank,
        width=0.0,
        seed=0,
    )
    (first, *_), lengths = objective._training, []
    for edited in (still, shaken):
        objective._edited = edited
        with edited.attached():
            if edited is still:
                # The reference as this very forward gives it: else what is left is the gradient of rounding.
                with torch.no_grad():
                    (gap, _), _ = first.run(edited, predictions=False)
                objective._training = [replace(first, gap=gap, inside=gap @ objective.basis)]
            objective._losses(objective._training[0], softness=0.25, coherence=None, monotonic=None)[
                "projection"
            ].backward()
        lengths.append(max(float(tensor.grad.norm()) for tensor in edited.parameters.values()))
    assert lengths[0] < 1e-6 * lengths[1]


# -- what cannot be ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["shift", "antipasto"])
def test_an_unknown_kind_is_refused_with_the_kinds(name: str) -> None:
    with pytest.raises(
        UsageError, match=r"adapter is 'lor'; choose from 'free', 'rotation', 'scaling', 'lora'"
    ):
        named(name, {"adapter": "lor"})
    with pytest.raises(UsageError, match="beta is 0"):
        named("antipasto-dpo", {"beta": 0})


@pytest.mark.parametrize("method", [Shift(adapter="road"), *BASELINES[:1]], ids=["shift", "lora"])
def test_without_peft_nothing_is_begun(
    method: Shift | AntiPaSTO, tiny_lm: LM, tiny_contrast: Contrast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(type(tiny_lm), "residuals", lambda *_, **__: pytest.fail("the model was read"))
    with pytest.raises(UsageError, match=r"pip install 'gnomon\[adapters\]'"):
        method.fit(tiny_lm, tiny_contrast)
