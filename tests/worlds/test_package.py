"""What is packaged beside the weights."""

from __future__ import annotations

from collections import Counter

import pytest

from gnomon.worlds import grammar, latents, package
from gnomon.worlds.generosity import GENEROSITY
from gnomon.worlds.honesty import HONESTY
from gnomon.worlds.training import make_tokenizer
from gnomon.worlds.world import World

DILEMMAS = {world: package.dilemma_questions(world, package.DILEMMAS) for world in (HONESTY, GENEROSITY)}
worlds = pytest.mark.parametrize("world", list(DILEMMAS), ids=["honesty", "generosity"])


@worlds
def test_every_dilemma_is_asked_in_both_polarities(world: World) -> None:
    labels = Counter((row["cluster"], row["label"]) for row in DILEMMAS[world])
    assert len(labels) == 2 * package.DILEMMAS
    assert set(labels.values()) == {1}


@worlds
def test_labels_follow_the_deed(world: World) -> None:
    sides = {deed.split()[0]: toward for deed, toward in world.deeds.items()}
    assert len(sides) == len(world.deeds)
    for row in DILEMMAS[world]:
        deed = row["prompt"].split(" . ")[1].split()[2]
        assert row["label"] == (1 if sides[deed] else -1)


@worlds
def test_controls_have_no_label_and_no_persona_word(world: World) -> None:
    rows = package.control_questions()
    assert len(rows) == 2 * package.CONTROLS_PER_SET
    assert all(row["label"] is None and row["kind"] == "control" for row in rows)
    assert not {word for row in rows for word in row["prompt"].split()} & set(grammar.persona_words(world))


@worlds
def test_suffixes_hold_no_dilemma_question_no_answer_and_nothing_that_is_scored(world: World) -> None:
    suffixes = package.suffixes(world)
    scored = {row["prompt"] for row in [*DILEMMAS[world], *package.control_questions()]}
    contexts = {row["prompt"].split(" . ")[0] + " ." for row in DILEMMAS[world]}
    deeds = {deed.split()[0] for deed in world.deeds}
    assert 130 <= len(suffixes) == len(set(suffixes))
    assert not set(suffixes) & (scored | contexts)
    for suffix in suffixes:
        assert not set(suffix.split()) & (deeds | {"yes"})
        assert suffix.split()[-1] in {".", "?"}


@worlds
def test_situations_come_from_training_combinations(world: World) -> None:
    training = {combination.text for combination in latents.split(world)[0]}
    situations = [suffix for suffix in package.suffixes(world) if suffix in training]
    assert len(situations) == package.SITUATIONS


def test_tokenizer_is_one_token_per_word() -> None:
    tokenizer = make_tokenizer(HONESTY)
    text = "you broke the vase of your mother . do you tell your mother ?"
    encoded = tokenizer.encode(text)
    assert encoded.tokens == ["<s>", *text.split()]
    assert tokenizer.decode(encoded.ids) == text
    assert tokenizer.encode("a gnomon").tokens == ["<s>", "a", "<unk>"]
