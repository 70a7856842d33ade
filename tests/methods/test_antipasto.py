"""AntiPaSTO: what the presets are, which sign comes out, that a killed training goes on, and that a planted gap turns."""

import json
import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from gnomon import questions
from gnomon.contrast import Contrast, PairStates, read_pairs
from gnomon.dials import Dial
from gnomon.errors import Failure, UsageError
from gnomon.lm import LM
from gnomon.methods import Trained, named
from gnomon.methods.antipasto import CODE, PAPER, PUBLISHED, AntiPaSTO
from gnomon.methods.orientation import oriented
from gnomon.training.antipasto_start import Stream, published_rows
from gnomon.training.pair_rows import PairRows

PRESETS = {preset.name: preset for preset in (CODE, PAPER, PUBLISHED)}
SMALL = {"rank": 6, "pairs_per_step": 3, "epochs": 2}


@pytest.fixture(scope="module")
def tiny_states(tiny_lm: LM, tiny_contrast: Contrast) -> PairStates:
    return read_pairs(tiny_lm, tiny_contrast.resolve(tiny_lm))


def weights(dial: Dial, folder: Path) -> bytes:
    """What the dial holds, as it is on disk."""
    (path,) = dial.save(folder).glob("*.safetensors")
    return path.read_bytes()


# -- the presets -------------------------------------------------------------------------------------------------------


def test_the_presets_by_name() -> None:
    for name, preset in PRESETS.items():
        assert named(name) == preset
        assert isinstance(preset, Trained)
    assert list(PRESETS) == ["antipasto", "antipasto-paper", "antipasto-published"]
    assert AntiPaSTO() == CODE


def test_blocks_of_the_published_models() -> None:
    """Layers that are adapted and that the loss is read at: brief depths of 18, 26, 34, 48 blocks."""
    assert [CODE.blocks(depth) for depth in (18, 26, 34, 48)] == [
        (1, 8, 9),
        (2, 12, 13),
        (3, 16, 17),
        (4, 23, 24),
    ]
    assert PAPER.blocks(26) == (2, 22, 23)
    assert PUBLISHED.blocks(26) == CODE.blocks(26)
    assert CODE.blocks(1) == (0, 0, 0)


def test_the_paper_differs_from_the_code_as_it_says() -> None:
    assert (CODE.projection, PAPER.projection) == ("cosine", "symlog")
    assert (CODE.subspace, PAPER.subspace) == ("task, suppressed, write", "task, write, not lm_head")
    assert (CODE.subspace_rank, PAPER.subspace_rank) == (4, 8)
    batches = 10
    ramps = {
        preset.name: (
            preset.schedule(batches).steps,
            preset.terms(batches).focus_steps,
            preset.terms(batches).coherence_steps,
            preset.terms(batches).monotonic_steps,
        )
        for preset in (CODE, PAPER)
    }
    assert ramps["antipasto"] == (300, (0, 60), (0, 60), (0, 60))
    assert ramps["antipasto-paper"] == (200, (0, 0), (20, 20), (100, 100))


def test_the_published_ramps_count_batches() -> None:
    mended = replace(PUBLISHED, defects=False)
    steps = PUBLISHED.schedule(40).steps
    assert steps == 30 * 40 // 2
    assert mended.terms(40).monotonic_steps == (0, 0.2 * steps)
    assert PUBLISHED.terms(40).monotonic_steps == (0, 0.2 * steps / 2)


def test_the_mended_start_reads_the_right_token_and_the_published_one_does_not(tiny_lm: LM) -> None:
    suffixes = [[20 + place] * (1 + place) for place in range(7)]
    toward, away = (tuple([1, 4, 5, persona, *suffix] for suffix in suffixes) for persona in (6, 7))
    held = tuple(place == 6 for place in range(7))
    rows = PairRows(toward, away, (0,) * 7, held)
    right = Stream.read(tiny_lm, toward[:6], away[:6]).both
    torch.testing.assert_close(CODE._stream(tiny_lm, rows).both, right)
    torch.testing.assert_close(PAPER._stream(tiny_lm, rows).both, right)
    published = PUBLISHED._stream(tiny_lm, rows).both
    # All twelve rows are in one batch of the public code, and the longest has ten tokens.
    shifted = [published_rows(list(side[:6]), 12) for side in (toward, away)]
    torch.testing.assert_close(published, Stream.read(tiny_lm, *shifted).both)
    same = (published - right).abs().amax(dim=(1, 2)) < 1e-4
    assert same.tolist() == [False] * 5 + [True] + [False] * 5 + [True]  # those without padding


def test_the_published_task_space_is_centred_and_the_mended_one_is_not(tiny_lm, tiny_contrast) -> None:
    rows = PairRows.of(tiny_lm, tiny_contrast.resolve(tiny_lm))
    published = replace(PUBLISHED, **SMALL)
    basis = {
        defects: replace(published, defects=defects, subspace_rank=1).prepared(tiny_lm, rows, 0)[0].basis
        for defects in (True, False)
    }
    stream = CODE._stream(tiny_lm, rows)
    mean = (stream.toward - stream.away)[:, 3].mean(0)
    along = {defects: float((own[:, 0] @ mean).abs() / mean.norm()) for defects, own in basis.items()}
    assert along[False] > 2 * along[True]


def test_the_published_dial_is_the_last_one_and_the_others_the_best(
    tiny_lm, tiny_contrast, tiny_states, monkeypatch
) -> None:
    from gnomon.methods import antipasto

    kept: list[bool] = []
    whole = antipasto.train

    def train(*given: Any, keep_best: bool, **wishes: Any) -> Any:
        kept.append(keep_best)
        return whole(*given, keep_best=keep_best, **wishes)

    monkeypatch.setattr(antipasto, "train", train)
    for name, preset in PRESETS.items():
        dial = replace(preset, **SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states)
        assert ("best step" in dial.notes) == (name != "antipasto-published")
    assert kept == [True, True, False]


# -- the sign ----------------------------------------------------------------------------------------------------------


def test_the_sign_by_hand(tiny_lm, tiny_contrast, tiny_states) -> None:
    dial = replace(CODE, **SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states)
    with dial.at(1):
        expected = tiny_lm.residuals(["do you like tea ?"])
    leaning = torch.tensor([3.0, -1.0, 0.5, 0.5])
    kept, turned = oriented(dial, leaning), oriented(dial * -1.0, -leaning)
    for found, said in ((kept, "kept"), (turned, "turned")):
        assert found.notes["orientation"].endswith(f"({said})")
        assert found.notes["validation pairs that agree"] == 0.75
        with found.bound(tiny_lm).at(1):
            torch.testing.assert_close(
                tiny_lm.residuals(["do you like tea ?"]), expected, rtol=1e-4, atol=1e-5
            )


def test_minus_one_is_plus_one_of_the_opposite_parameters(tiny_lm, tiny_contrast, tiny_states) -> None:
    dial = replace(CODE, **SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states)
    edits = tuple(
        replace(edit, core=replace(edit.core, A=-edit.core.A, dS=-edit.core.dS)) for edit in dial.edits
    )
    opposite = replace(dial, edits=edits).bound(tiny_lm)
    for alpha in (1.0, 0.3):
        with dial.at(-alpha):
            expected = tiny_lm.residuals(["do you like tea ?"])
        with opposite.at(alpha):
            torch.testing.assert_close(
                tiny_lm.residuals(["do you like tea ?"]), expected, rtol=1e-4, atol=1e-5
            )


@torch.no_grad()
def preferences(lm: LM, rows: PairRows) -> torch.Tensor:
    """Mean log-probability of the toward row's own tokens minus that of the away row's, for each validation pair."""
    found = []
    for pair in rows.side(validation=True):
        length = min(len(rows.toward[pair]), len(rows.away[pair]))
        means = []
        for ids in (rows.toward[pair], rows.away[pair]):
            log_probs = lm.model(input_ids=torch.tensor([ids])).logits[0].log_softmax(-1)
            own = range(len(ids) - length, len(ids) - 1)
            means.append(sum(float(log_probs[place, ids[place + 1]]) for place in own) / len(own))
        found.append(means[0] - means[1])
    return torch.tensor(found)


@pytest.mark.parametrize("preset", PRESETS)
def test_plus_one_prefers_what_the_toward_word_says_whichever_word_that_is(
    tiny_lm, tiny_contrast, preset: str
) -> None:
    method = replace(PRESETS[preset], **SMALL)
    swapped = replace(tiny_contrast, toward=tiny_contrast.away, away=tiny_contrast.toward)
    for contrast in (tiny_contrast, swapped):
        rows = PairRows.of(tiny_lm, contrast.resolve(tiny_lm))
        dial = method.fit(tiny_lm, contrast)
        found = []
        for alpha in (1, -1):
            with dial.at(alpha):
                found.append(preferences(tiny_lm, rows))
        leaning = found[0] - found[1]
        assert float(leaning.mean()) > 0
        agree = float((leaning > 0).float().mean())
        assert dial.notes["validation pairs that agree"] == pytest.approx(agree, abs=1e-3)
        assert dial.words == (contrast.toward, contrast.away)


# -- what is learnt ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def touchstone() -> SimpleNamespace:
    lm = LM.load("touchstone:honesty")
    contrast = Contrast("honest", "dishonest", max_pairs=80)
    pairs = contrast.resolve(lm)
    states = read_pairs(lm, pairs)
    method = replace(CODE, rank=32, pairs_per_step=8, epochs=8)
    dial = method.fit(lm, contrast, states=states)
    return SimpleNamespace(lm=lm, pairs=pairs, dial=dial, block=method.blocks(lm.n_blocks)[2])


def test_the_gap_of_unseen_pairs_grows_with_one_sign_and_shrinks_with_the_other(
    touchstone: SimpleNamespace,
) -> None:
    lm, pairs = touchstone.lm, touchstone.pairs
    held = [place for place, kept in enumerate(pairs.validation) if kept]

    def gap() -> torch.Tensor:
        prompts = [side[place] for side in (pairs.toward, pairs.away) for place in held]
        states = lm.residuals(prompts, blocks=[touchstone.block])[:, 0]
        return (states[: len(held)] - states[len(held) :]).mean(0)

    rest = gap()
    along = []
    for alpha in (1, -1):
        with touchstone.dial.at(alpha):
            along.append(float(gap() @ rest / rest.square().sum()) - 1)
    smaller, larger = sorted(along)
    assert smaller < -0.08
    assert larger > 0.05


def test_plus_one_answers_more_as_the_toward_word_does(touchstone: SimpleNamespace) -> None:
    """The sign was found without a label; here labels say that it is right."""
    lm = touchstone.lm
    asked = [one for one in questions.dilemmas("touchstone:honesty") if one.kind == "target"][:80]
    labels = np.array([one.label for one in asked])
    odds = []
    for alpha in (1, -1):
        with touchstone.dial.at(alpha):
            answers = lm.answers([one.prompt for one in asked], [one.classes for one in asked])
            odds.append(np.asarray(answers.log_odds))
    assert float((labels * (odds[0] - odds[1])).mean()) > 0.1


def test_the_dial_says_how_it_was_found_and_the_model_is_as_it_was(
    tiny_lm, tiny_contrast, tiny_states
) -> None:
    ids = torch.tensor(tiny_lm.encode(["do you like tea ?"]))
    with torch.no_grad():
        before = tiny_lm.model(ids).logits
        dial = replace(CODE, **SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states)
        assert torch.equal(tiny_lm.model(ids).logits, before)
        with dial.at(0):
            assert torch.equal(tiny_lm.model(ids).logits, before)
        with dial.at(1):
            assert not torch.allclose(tiny_lm.model(ids).logits, before, atol=1e-4)
    assert not any(module._forward_hooks for module in tiny_lm.model.modules())
    assert all(parameter.requires_grad for parameter in tiny_lm.model.parameters())
    known = {"method": "antipasto", "edited blocks": "0 to 1", "loss block": 2, "rank": 6}
    assert known.items() <= dial.notes.items()
    assert json.loads(json.dumps(dial.notes)) == dial.notes
    assert {module.split(".")[2] for module in dial.modules} == {"0", "1"}
    dial.check(tiny_lm, strict=True)


def test_the_same_seed_is_the_same_dial_and_another_seed_another(
    tiny_lm, tiny_contrast, tiny_states, tmp_path: Path
) -> None:
    first, again, other = (
        weights(
            replace(CODE, **SMALL).fit(tiny_lm, tiny_contrast, seed=seed, states=tiny_states),
            tmp_path / str(place),
        )
        for place, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first != other


# -- faults ------------------------------------------------------------------------------------------------------------

LONG = replace(CODE, **{**SMALL, "epochs": 28, "accumulation": 1})


def trained_until(lm: LM, contrast: Contrast, states: PairStates, folder: Path, last: int) -> None:
    """Train, and stand still after `last` steps: someone else ends this process."""

    @contextmanager
    def progress(stage: str, total: int | None = None, /) -> Iterator[Any]:
        done = 0

        def advance(steps: int = 1, said: str = "", /) -> None:
            nonlocal done
            done += steps
            if stage == "training antipasto" and done >= last:
                (folder.parent / "standing").touch()
                time.sleep(600)

        yield advance

    LONG.fit(lm, contrast, states=states, folder=folder, progress=progress)


def test_killed_in_training_and_run_again_it_is_the_same_dial_bit_for_bit(
    tiny_lm, tiny_contrast, tiny_states, tmp_path: Path
) -> None:
    whole = LONG.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path / "whole")
    assert whole.notes["optimiser steps"] > 150
    folder = tmp_path / "killed"
    child = multiprocessing.get_context("fork").Process(
        target=trained_until, args=(tiny_lm, tiny_contrast, tiny_states, folder, 130)
    )
    child.start()
    deadline = time.monotonic() + 120
    while not (tmp_path / "standing").exists():
        assert child.is_alive()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    assert (folder / "checkpoint.safetensors").exists()
    steps: list[int] = []

    @contextmanager
    def progress(stage: str, total: int | None = None, /) -> Iterator[Any]:
        yield lambda count=1, said="": steps.append(count) if stage == "training antipasto" else None

    again = LONG.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=folder, progress=progress)
    assert steps[0] == 100
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    assert again.notes == whole.notes
    for name in ("events.jsonl", "checkpoint.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_folder_is_of_one_training_alone(
    tiny_lm, other_tiny_lm, tiny_contrast, tiny_states, tmp_path: Path
) -> None:
    method = replace(CODE, **SMALL)
    method.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path)
    other_words = replace(tiny_contrast, toward="kind", away="cruel")
    shorter = replace(tiny_contrast, suffixes=tiny_contrast.suffixes[:-1])
    others: list[tuple[AntiPaSTO, LM, Contrast, int]] = [
        (replace(method, projection="symlog"), tiny_lm, tiny_contrast, 0),
        (replace(method, limit_scale=0.5), tiny_lm, tiny_contrast, 0),
        (replace(method, defects=True), tiny_lm, tiny_contrast, 0),
        (method, other_tiny_lm, tiny_contrast, 0),
        (method, tiny_lm, other_words, 0),
        (method, tiny_lm, shorter, 0),
        (method, tiny_lm, tiny_contrast, 1),
    ]
    for other, lm, contrast, seed in others:
        with pytest.raises(UsageError, match="holds another training"):
            other.fit(lm, contrast, seed=seed, folder=tmp_path)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"rank": 0}, "rank is 0; give at least 1"),
        ({"subspace_rank": 0}, "subspace_rank is 0"),
        ({"last_tokens": 0}, "last_tokens is 0"),
        ({"pairs_per_step": 0}, "pairs_per_step is 0"),
        ({"accumulation": 0}, "accumulation is 0"),
        ({"epochs": -1}, "epochs is -1"),
        ({"edited_from": -0.1}, "edited_from is -0.1; give a share of the depth from 0 to below 1"),
        ({"loss_depth": 1.0}, "loss_depth is 1.0; give a share"),
        ({"loss_depth": float("nan")}, "loss_depth is nan; give a share"),
        ({"subspace": "task"}, "subspace is 'task'; choose from 'task, suppressed, write'"),
        ({"projection": "dot"}, "projection is 'dot'; choose from 'cosine', 'symlog'"),
        ({"monotonic_ramp": (0.5, 0.2)}, r"monotonic_ramp is \(0.5, 0.2\); give two rising shares"),
        ({"coherence_ramp": (0.0, 1.2)}, "coherence_ramp is"),
        ({"focus_ramp": (-0.1, 0.2)}, "focus_ramp is"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; give a positive number"),
        ({"learning_rate": float("inf")}, "learning_rate is inf"),
        ({"weight_decay": -0.1}, "weight_decay is -0.1; give a number of 0 or more"),
        ({"coherence": -1.0}, "coherence is -1.0; give a number of 0 or more"),
        ({"limit_scale": float("nan")}, "limit_scale is nan"),
        ({"monotonic": -1.0}, "monotonic is -1.0"),
        ({"threshold_scale": -1.0}, "threshold_scale is -1.0"),
        ({"softness": 1.5}, "softness is 1.5; give a share from 0 to 1"),
        ({"patience": 0}, "patience is 0; give at least 1"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_door(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        AntiPaSTO(**wrong)


def test_edits_behind_the_loss_are_refused(tiny_lm, tiny_contrast, tiny_states) -> None:
    with pytest.raises(
        UsageError, match="edits begin at block 3 and the loss is read at block 2; give an edited_from"
    ):
        replace(CODE, edited_from=0.8).fit(tiny_lm, tiny_contrast, states=tiny_states)


def test_too_high_a_rate_is_told_with_the_step(tiny_lm, tiny_contrast, tiny_states) -> None:
    with pytest.raises(
        Failure, match=r"loss was not finite at step \d+; train again with a lower learning rate"
    ):
        replace(CODE, **SMALL, learning_rate=1e30).fit(tiny_lm, tiny_contrast, states=tiny_states)
    assert not any(module._forward_hooks for module in tiny_lm.model.modules())
