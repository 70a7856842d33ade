"""The training split: never a held-out combination, never a packaged question, seeded, in both polarities."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from gnomon import questions, touchstones
from gnomon.errors import UsageError
from gnomon.worlds import latents
from gnomon.worlds.grammar import WORLDS
from gnomon.worlds.labelled import training_questions

NAMES = touchstones.names()
worlds = pytest.mark.parametrize("name", NAMES)


def situation(prompt: object) -> str:
    return str(prompt).split(" . ")[0] + " ."


@worlds
def test_every_dilemma_is_about_a_training_combination_even_when_all_are_asked_for(name: str) -> None:
    world = WORLDS[name]
    training, held_out = ({one.text for one in side} for side in latents.split(world))
    assert not training & held_out
    asked = training_questions(world, len(training))
    told = {situation(question.prompt) for question in asked.targets}
    assert told == training
    assert not told & held_out


@worlds
def test_no_prompt_and_no_cluster_is_a_packaged_one(name: str) -> None:
    asked = training_questions(WORLDS[name], 3000)
    packaged = questions.load(f"touchstone:{name}")
    assert not set(asked.prompts) & set(packaged.prompts)
    assert not {one.cluster for one in asked} & {one.cluster for one in packaged}
    assert {situation(one.prompt) for one in packaged.targets}.isdisjoint(map(situation, asked.prompts))


@worlds
def test_every_dilemma_is_asked_in_both_polarities_and_the_label_follows_the_deed(name: str) -> None:
    world = WORLDS[name]
    asked = training_questions(world, 60)
    assert set(Counter((one.cluster, one.label) for one in asked.targets).values()) == {1}
    assert len({one.cluster for one in asked.targets}) == 60
    sides = {deed.split()[0]: toward for deed, toward in world.deeds.items()}
    for one in asked.targets:
        assert one.label == (1 if sides[str(one.prompt).split(" . ")[1].split()[2]] else -1)


@worlds
def test_controls_are_sums_with_right_and_wrong_totals_and_preferences(name: str) -> None:
    asked = training_questions(WORLDS[name], 1).controls
    assert len(asked) == len(set(asked.prompts)) >= 40
    assert {one.set for one in asked} == {"arithmetic", "preferences"}
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    right = 0
    for one in asked:
        if one.set == "arithmetic":
            _, left, _, other, shown, _ = str(one.prompt).split()
            right += words.index(left) + words.index(other) == words.index(shown)
    assert 10 <= right < len(asked)


def test_the_seed_draws_the_dilemmas() -> None:
    world = WORLDS["honesty"]
    one, again, other = (training_questions(world, 50, seed) for seed in (0, 0, 1))
    assert one.fingerprint == again.fingerprint
    assert one.fingerprint != other.fingerprint
    assert {situation(q.prompt) for q in one.targets} != {situation(q.prompt) for q in other.targets}


@pytest.mark.parametrize("count", [0, 3001])
def test_more_than_there_are_is_refused(count: int) -> None:
    with pytest.raises(UsageError, match=f"{count} dilemmas were asked for; the world has 3000 for training"):
        training_questions(WORLDS["honesty"], count)


def test_the_file_reads_back_without_a_note(tmp_path: Path) -> None:
    asked = training_questions(WORLDS["honesty"], 20)
    read = questions.load(questions.save(asked, tmp_path / "training.jsonl"))
    assert read.fingerprint == asked.fingerprint
    assert read.notes == ()
