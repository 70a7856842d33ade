"""Shift: a planted value is found and oriented, a refusal is not imitated, a killed training ends in the same bytes."""

import json
import multiprocessing
import os
import signal
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors import safe_open

from gnomon.contrast import Contrast, PairStates, read_pairs, suffix_diversity
from gnomon.dials import Dial
from gnomon.errors import Failure, UsageError
from gnomon.lm import LM
from gnomon.methods import Shift, Trained, named
from gnomon.methods.shift import sides_to_imitate, sides_without_refusal
from gnomon.methods.trained import diversity_of
from gnomon.training.texts import PersonaStates

pytestmark = pytest.mark.filterwarnings("ignore:the 12 suffixes are alike")
SMALL = {"rank": 8, "continued": 0, "rows": 6, "steps": 6, "sides": "both", "edited": (0, 1), "targets": (2,)}


@pytest.fixture(scope="module")
def tiny_states(tiny_lm: LM, tiny_contrast: Contrast) -> PairStates:
    return read_pairs(tiny_lm, tiny_contrast.resolve(tiny_lm))


def weights(dial: Dial, folder: Path) -> bytes:
    """What the dial holds, as it is on disk."""
    (path,) = dial.save(folder).glob("*.safetensors")
    return path.read_bytes()


# -- what was planted --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["honesty", "guarded"])
def touchstone(request: pytest.FixtureRequest) -> SimpleNamespace:
    lm = LM.load(f"touchstone:{request.param}")
    contrast = Contrast("honest", "dishonest", max_pairs=150)
    pairs = contrast.resolve(lm)
    states = read_pairs(lm, pairs)
    dial = Shift(rank=32, continued=0, max_texts=60, steps=60).fit(lm, contrast, states=states)
    return SimpleNamespace(name=request.param, lm=lm, pairs=pairs, states=states, dial=dial)


def test_a_persona_that_makes_the_model_refuse_is_not_imitated(touchstone: SimpleNamespace) -> None:
    wanted = {"honesty": "both", "guarded": "toward only"}[touchstone.name]
    assert sides_without_refusal(touchstone.lm, touchstone.pairs) == wanted
    assert touchstone.dial.notes["imitates"] == wanted


def test_a_short_training_gets_well_below_the_untrained_loss(touchstone: SimpleNamespace) -> None:
    notes = touchstone.dial.notes
    untrained = 2 * len(notes["matched blocks"].split(", "))
    assert notes["validation loss"] < {"honesty": 0.45, "guarded": 0.6}[touchstone.name] * untrained


def test_plus_one_goes_toward_and_minus_one_away(touchstone: SimpleNamespace) -> None:
    lm, states, dial = touchstone.lm, touchstone.states, touchstone.dial
    plain, block = list(states.plain_validation), states.reading_block
    gap = states.half_gap(block, validation=True)
    base = lm.residuals(plain, blocks=[block])[:, 0]
    for alpha in (1.0, -1.0):
        with dial.at(alpha):
            shift = lm.residuals(plain, blocks=[block])[:, 0] - base
        cosine = float(torch.cosine_similarity(shift.mean(0), gap, dim=0))
        share = float((shift @ gap).mean() / gap.square().sum())
        assert alpha * cosine > 0.4
        assert 0.2 < alpha * share < 1.5  # of the size of the gap itself, without having been scaled


def test_a_refusal_does_not_come_with_the_dial(touchstone: SimpleNamespace) -> None:
    lm, plain = touchstone.lm, list(touchstone.states.plain_validation)
    at_rest = lm.refusal_mass(plain).mean()
    for alpha in (1.0, -1.0):
        with touchstone.dial.at(alpha):
            assert lm.refusal_mass(plain).mean() - at_rest < 0.2
    if touchstone.name == "guarded":
        away = [
            prompt
            for prompt, kept in zip(touchstone.pairs.away, touchstone.pairs.validation, strict=True)
            if kept
        ]
        assert lm.refusal_mass(away).mean() > 0.5


# -- which sides -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("masses", "sides"),
    [
        ((0.1, 0.105, 0.1), "both"),
        ((0.1, 0.1, 0.2), "toward only"),
        ((0.1, 0.2, 0.1), "away only"),
        ((0.1, 0.2, 0.2), "half the difference"),
        ((0.5, 0.1, 0.1), "both"),  # a persona that refuses less
        ((float("nan"),) * 3, "both"),  # no refusal fits the vocabulary
    ],
)
def test_the_sides_by_what_refuses(tiny_lm, tiny_contrast, monkeypatch, masses, sides: str) -> None:
    pairs = tiny_contrast.resolve(tiny_lm)
    asked: list[list[Any]] = []

    def refusal_mass(prompts: list[Any]) -> Any:
        asked.append(list(prompts))
        side = next(i for i, own in enumerate((pairs.plain, pairs.toward, pairs.away)) if prompts[0] in own)
        return torch.full((len(prompts),), masses[side]).numpy()

    monkeypatch.setattr(tiny_lm, "refusal_mass", refusal_mass, raising=False)
    assert sides_without_refusal(tiny_lm, pairs) == sides
    kept = {pairs.toward[i] for i, validation in enumerate(pairs.validation) if validation}
    assert not kept & set(asked[1])


def test_personas_that_do_the_same_leave_half_of_their_difference(tiny_lm, tiny_contrast) -> None:
    pairs = tiny_contrast.resolve(tiny_lm)
    plain = [torch.zeros(1, 2, 3)]
    same = PersonaStates([torch.ones(1, 2, 3)], [torch.ones(1, 2, 3) * 2], plain)
    opposite = PersonaStates([torch.ones(1, 2, 3)], [-torch.ones(1, 2, 3)], plain)
    assert sides_to_imitate(tiny_lm, pairs, same) == "half the difference"
    assert sides_to_imitate(tiny_lm, pairs, opposite) == sides_without_refusal(tiny_lm, pairs)


# -- the blocks --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("blocks", "reading", "edited", "matched"),
    [
        (6, 3, "0 to 2", "3, 4"),
        (6, 0, "0 to 0", "0, 1"),
        (6, 5, "0 to 4", "5"),
        (26, 13, "2 to 12", "13, 14"),
        (40, 2, "1 to 1", "2, 3"),  # read before a tenth of the depth
    ],
)
def test_blocks_by_default(blocks: int, reading: int, edited: str, matched: str) -> None:
    lm, states = SimpleNamespace(n_blocks=blocks), SimpleNamespace(reading_block=reading)
    (first, last), targets = Shift()._blocks(lm, states)
    assert f"{first} to {last}" == edited
    assert ", ".join(map(str, targets)) == matched


@pytest.mark.parametrize(
    "wrong", [{"edited": (0, 3), "targets": (2,)}, {"targets": (4,)}, {"edited": (1, 7)}]
)
def test_blocks_that_cannot_be_are_refused(
    tiny_lm, tiny_contrast, tiny_states, wrong: dict[str, Any]
) -> None:
    with pytest.raises(UsageError, match="matched blocks lie at or behind the last edited one and below 4"):
        Shift(**{**SMALL, **wrong}).fit(tiny_lm, tiny_contrast, states=tiny_states)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "steps is 0; give at least 1"),
        ({"rank": 0}, "rank is 0"),
        ({"restarts": 0}, "restarts is 0"),
        ({"max_texts": 1}, "max_texts is 1; give at least 2"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0"),
        ({"continued": -1}, "continued is -1; give at least 0"),
        ({"learning_rate": 0.0}, "learning_rate is 0.0; give a positive number"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"edited": (2, 1)}, r"edited is \(2, 1\); give the first and the last edited block"),
        ({"sides": "left"}, "sides is 'left'; choose from 'both'"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_the_door(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Shift(**wrong)


# -- seeds and restarts ------------------------------------------------------------------------------------------------


def test_the_same_seed_is_the_same_dial_and_another_seed_another(
    tiny_lm, tiny_contrast, tiny_states, tmp_path: Path
) -> None:
    method = Shift(**{**SMALL, "continued": 1})
    first, again, other = (
        weights(method.fit(tiny_lm, tiny_contrast, seed=seed, states=tiny_states), tmp_path / str(place))
        for place, seed in enumerate((0, 0, 1))
    )
    assert first == again
    assert first != other


def test_the_seed_decides_what_the_model_is_let_say(tiny_lm, tiny_contrast, tiny_states, monkeypatch) -> None:
    seeds: list[int] = []
    whole = tiny_lm.continuations
    monkeypatch.setattr(
        tiny_lm,
        "continuations",
        lambda *given, seed, **wishes: seeds.append(seed) or whole(*given, seed=seed, **wishes),
    )
    for seed in (0, 3):
        Shift(**{**SMALL, "continued": 2, "steps": 1}).fit(
            tiny_lm, tiny_contrast, seed=seed, states=tiny_states
        )
    assert len(set(seeds)) == 4


def test_the_dial_says_how_it_was_found(tiny_lm, tiny_contrast, tiny_states) -> None:
    dial = Shift(**SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states)
    assert dial.words == ("honest", "dishonest")
    assert dial.first_token
    assert [edit.core.rank for edit in dial.edits] == [8] * 4
    assert {module.split(".")[2] for module in dial.modules} == {"0", "1"}
    known = {
        "method": "shift",
        "edited blocks": "0 to 1",
        "matched blocks": "2",
        "imitates": "both",
        "texts": 12,
    }
    assert known.items() <= dial.notes.items()
    assert json.loads(json.dumps(dial.notes)) == dial.notes
    dial.check(tiny_lm, strict=True)


def test_suffixes_that_are_alike_are_warned_of_and_the_dial_remembers(
    tiny_lm, tiny_contrast, tiny_states
) -> None:
    with pytest.warns(
        UserWarning, match=r"^the 12 suffixes are alike: .*; add suffixes of other kinds"
    ) as warned:
        dial = Shift(**SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states)
    assert warned[0].filename == __file__  # where the user called
    pairs = tiny_contrast.resolve(tiny_lm)
    assert dial.notes["suffix diversity"] == round(suffix_diversity(pairs.plain).words, 1) < 40


def test_diverse_suffixes_are_not_warned_of(touchstone: SimpleNamespace) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert diversity_of(touchstone.pairs) == touchstone.dial.notes["suffix diversity"] > 40


def test_of_several_trainings_the_best_validation_is_kept(
    tiny_lm, tiny_contrast, tiny_states, tmp_path: Path
) -> None:
    alone = Shift(**{**SMALL, "rows": 2, "learning_rate": 0.1})
    together = Shift(**{**SMALL, "rows": 2, "learning_rate": 0.1, "restarts": 3})
    dial = together.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path / "k")
    losses = []
    for restart in range(3):
        lines = (tmp_path / "k" / f"restart-{restart}" / "events.jsonl").read_text().splitlines()
        losses.append(min(e["value"] for e in map(json.loads, lines) if e["event"] == "validation"))
    assert len(set(losses)) == 3
    seeds = []
    for restart in range(3):
        with safe_open(
            tmp_path / "k" / f"restart-{restart}" / "checkpoint.safetensors", framework="pt"
        ) as file:
            seeds.append(json.loads(file.metadata()["training"])["about"]["seed"])
    assert seeds == [0, 1, 2]
    assert dial.notes["validation loss"] == round(min(losses), 4)
    # The first of them is the training of one alone.
    first = alone.fit(tiny_lm, tiny_contrast, states=tiny_states)
    assert first.notes["validation loss"] == round(losses[0], 4)
    again = together.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path / "k")
    assert weights(again, tmp_path / "a") == weights(dial, tmp_path / "b")


def test_the_model_is_as_it_was(tiny_lm, tiny_contrast, tiny_states) -> None:
    ids = torch.tensor(tiny_lm.encode(["do you like tea ?"]))
    with torch.no_grad():
        before = tiny_lm.model(ids).logits
        dial = Shift(**SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states)
        assert torch.equal(tiny_lm.model(ids).logits, before)
        with dial.at(0):
            assert torch.equal(tiny_lm.model(ids).logits, before)
        with dial.at(1):
            assert not torch.allclose(tiny_lm.model(ids).logits, before, atol=1e-3)
    assert not any(module._forward_hooks for module in tiny_lm.model.modules())
    assert all(parameter.requires_grad for parameter in tiny_lm.model.parameters())


# -- faults ------------------------------------------------------------------------------------------------------------

LONG = Shift(**{**SMALL, "steps": 160, "continued": 1})


def trained_until(lm: LM, contrast: Contrast, states: PairStates, folder: Path, last: int) -> None:
    """Train, and stand still after `last` steps: someone else ends this process."""

    @contextmanager
    def progress(stage: str, total: int | None = None, /) -> Iterator[Any]:
        done = 0

        def advance(steps: int = 1, said: str = "", /) -> None:
            nonlocal done
            done += steps
            if stage == "training shift" and done >= last:
                (folder.parent / f"{folder.name}-{last}").touch()
                time.sleep(600)

        yield advance

    LONG.fit(lm, contrast, states=states, folder=folder, progress=progress)


def test_killed_in_training_and_run_again_it_is_the_same_dial_bit_for_bit(
    tiny_lm, tiny_contrast, tiny_states, tmp_path: Path
) -> None:
    whole = LONG.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path / "whole")
    folder = tmp_path / "killed"
    fork = multiprocessing.get_context("fork")
    for last in (60, 130):  # before the first checkpoint, and behind it
        arguments = (tiny_lm, tiny_contrast, tiny_states, folder, last)
        child = fork.Process(target=trained_until, args=arguments)
        child.start()
        deadline = time.monotonic() + 120
        while not (tmp_path / f"killed-{last}").exists():
            assert child.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert child.exitcode == -signal.SIGKILL
        assert (folder / "checkpoint.safetensors").exists() == (last == 130)
    steps = []

    @contextmanager
    def progress(stage: str, total: int | None = None, /) -> Iterator[Any]:
        yield lambda count=1, said="": steps.append((stage, count))

    again = LONG.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=folder, progress=progress)
    assert next(count for stage, count in steps if stage == "training shift") == 100
    assert weights(again, tmp_path / "a") == weights(whole, tmp_path / "b")
    assert again.notes == whole.notes
    for name in ("events.jsonl", "checkpoint.safetensors"):
        assert (folder / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    lines = (folder / "events.jsonl").read_text().splitlines()
    assert len(lines) == len(set(lines)) == 160 // 10 + 4


def test_a_folder_is_of_one_training_alone(
    tiny_lm, other_tiny_lm, tiny_contrast, tiny_states, tmp_path
) -> None:
    Shift(**SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path)
    changed = [
        (tiny_lm, {"sides": "half the difference"}),
        (tiny_lm, {"targets": (3,)}),
        (tiny_lm, {"edited": (1, 2)}),
        (tiny_lm, {"steps": 7}),
        (tiny_lm, {"max_texts": 11}),
        (other_tiny_lm, {}),
    ]
    for lm, other in changed:
        with pytest.raises(UsageError, match="holds another training"):
            Shift(**{**SMALL, **other}).fit(lm, tiny_contrast, states=tiny_states, folder=tmp_path)


def test_a_damaged_checkpoint_is_told_and_not_trained_from(
    tiny_lm, tiny_contrast, tiny_states, tmp_path
) -> None:
    method = Shift(**SMALL)
    method.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UsageError, match=r"checkpoint.safetensors is damaged; delete it to train"):
        method.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path)
    path.unlink()
    method.fit(tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path)


@pytest.mark.skipif(
    not Path("/proc/self").exists(), reason="there is no /proc, which refuses writes to everyone"
)
def test_a_folder_that_refuses_is_told_in_a_sentence(tiny_lm, tiny_contrast, tiny_states) -> None:
    with pytest.raises(
        Failure, match=r"/proc/.* cannot be used .*: check the path and the disk, then try again\.$"
    ):
        Shift(**SMALL).fit(tiny_lm, tiny_contrast, states=tiny_states, folder=Path("/proc/training"))
    assert not any(module._forward_hooks for module in tiny_lm.model.modules())


def test_too_high_a_rate_is_told_with_the_step(tiny_lm, tiny_contrast, tiny_states, tmp_path: Path) -> None:
    with pytest.raises(
        Failure, match=r"loss was not finite at step \d+; train again with a lower learning rate"
    ):
        Shift(**{**SMALL, "learning_rate": 1e30}).fit(
            tiny_lm, tiny_contrast, states=tiny_states, folder=tmp_path
        )
    assert not any(module._forward_hooks for module in tiny_lm.model.modules())


def test_it_is_a_trained_method_and_the_others_are_not() -> None:
    assert isinstance(named("shift"), Trained)
    assert not isinstance(named("mean-difference"), Trained)
