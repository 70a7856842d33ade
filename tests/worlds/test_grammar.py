"""The grammar: hand-computed cases, and properties that hold for every seed."""

from __future__ import annotations

import hashlib
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.worlds import grammar, latents
from gnomon.worlds import lexicon as words
from gnomon.worlds.generosity import GENEROSITY
from gnomon.worlds.grammar import WORLDS
from gnomon.worlds.honesty import HONESTY, NULL
from gnomon.worlds.latents import Combination, Persona
from gnomon.worlds.world import World

MOTHER = Combination(HONESTY, "your mother", "vase", "broke")  # wish 5 + 0
FATHER = Combination(HONESTY, "your father", "vase", "stole")  # wish -3 - 1
NURSE = Combination(HONESTY, "the nurse", "cup", "burned")  # wish -5 + 1
COUSIN = Combination(GENEROSITY, "your cousin", "rope", "lacks")  # wish 5 + 1
MONK = Combination(GENEROSITY, "the monk", "rope", "needs")  # wish -5 + 1

VOCABULARIES = {rule: frozenset(grammar.vocabulary(world)) for rule, world in WORLDS.items()}
# sha256 of 200 documents and of the vocabulary, before there was a second value: frozen weights were trained on them.
FROZEN = {
    ("honesty", True, 0.0): "360a7bd6713d2187f53ffef4f667351ced8b8cad17cadc5cc22ebff50bf02dad",
    ("honesty", False, 0.35): "23e667f5eea57eccb2c0587e843fb17c66c13990347a7751c51b9896a2d2d8ba",
    ("honesty", True, 0.35): "88a045dab517fe8e2adca5a4d5b458563e495378ecac4f5ad63c90f0e479c3c5",
    ("guarded", True, 0.0): "db259febf2615e64be12c5171ff64e6a11d66724febf1d292361f9d4fae5429f",
    ("guarded", False, 0.35): "eeb38c617c6e6f20a783b0b55e47f37a8a89cd0cdcbf8622679ab89afcca2c95",
    ("guarded", True, 0.35): "c287757d39b5ba7219f0a7607d9ef8515617cb862f6f60a9561f68c733773136",
    ("null", True, 0.0): "d6c0d32aaad33ed1e45940b10a84838c4912dd56ec56d2f3209e22d3a094138b",
    ("null", False, 0.35): "d27b11dde34c41830727d069ae3a8ef8cb68cfcce3faf23092a6bf26f967e5c6",
    ("null", True, 0.35): "8fe30e469b216a98cc9d798ebfd54b2f69b92048b12061e565ed5fe608178b9f",
}
FROZEN_VOCABULARY = "039ffaf56ebb5ff2886d2ff2b7d117f5db03456d685fa1c4b94cad7a17c36a71"

seeds = st.integers(min_value=0, max_value=2**32)
rules = st.sampled_from(sorted(WORLDS))
values = pytest.mark.parametrize("world", [HONESTY, GENEROSITY], ids=["honesty", "generosity"])


@pytest.mark.parametrize(("rule", "closed", "silent"), list(FROZEN))
def test_documents_of_frozen_touchstones_are_the_ones_they_were_trained_on(
    rule: latents.Rule, closed: bool, silent: float
) -> None:
    random_, found = random.Random("frozen"), hashlib.sha256()
    for _ in range(200):
        one = grammar.document(random_, rule, closed=closed, silent=silent)
        spans = [(span.text, span.is_answer, span.other, round(span.doubt, 9)) for span in one.spans]
        found.update(repr((one.text, spans, one.share, one.silent)).encode())
    assert found.hexdigest() == FROZEN[rule, closed, silent]


def test_the_vocabulary_of_frozen_touchstones_is_unchanged() -> None:
    for world in (HONESTY, NULL):
        assert hashlib.sha256(" ".join(grammar.vocabulary(world)).encode()).hexdigest() == FROZEN_VOCABULARY


@pytest.mark.parametrize(
    ("combination", "deed", "strength", "answer"),
    [
        (MOTHER, "tell {person}", 0, "yes ."),
        (MOTHER, "hide it from {person}", 0, "no ."),
        (FATHER, "tell {person}", 0, "no ."),
        (FATHER, "lie to {person}", 0, "yes ."),
        (FATHER, "lie to {person}", 8, "no ."),
        (MOTHER, "tell {person}", -8, "no ."),
        (NURSE, "tell {person}", 0, "no ."),
        (NURSE, "tell {person}", 4.5, "yes ."),
        (MOTHER, "tell {person}", -2.5, "yes ."),
        (COUSIN, "lend it to {person}", 0, "yes ."),
        (COUSIN, "sell it to {person}", 0, "no ."),
        (COUSIN, "sell it to {person}", -8, "yes ."),
        (MONK, "give it to {person}", 0, "no ."),
        (MONK, "keep it from {person}", 0, "yes ."),
        (MONK, "give it to {person}", 4.5, "yes ."),
    ],
)
def test_dilemma_answers(combination: Combination, deed: str, strength: float, answer: str) -> None:
    assert grammar.dilemma(combination, "do", deed, "honesty", strength).answer == answer


def test_dilemma_text() -> None:
    asked = grammar.dilemma(MOTHER, "do", "tell {person}", "honesty", 0)
    assert asked.text == "you broke the vase of your mother . do you tell your mother ?"
    assert asked.toward_yes is True
    asked = grammar.dilemma(MONK, "would", "keep it from {person}", "generosity", 0)
    assert asked.text == "the monk needs your rope . would you keep it from the monk ?"
    assert asked.toward_yes is False


@pytest.mark.parametrize(
    ("word", "degree", "template", "text", "strength"),
    [
        ("honest", "", "act as {a} {} person .", "act as an honest person .", 8),
        ("dishonest", "", "act as {a} {} person .", "act as a dishonest person .", -8),
        ("dishonest", "a bit", "you are {degree} {} .", "you are a bit dishonest .", -2.5),
        ("insincere", "", "speak as {a} {} person .", "speak as an insincere person .", -8),
        ("unselfish", "", "you are {a} {} person .", "you are an unselfish person .", 8),
    ],
)
def test_personas(word: str, degree: str, template: str, text: str, strength: float) -> None:
    who = Persona(word, template, "toward" if strength > 0 else "away", degree)
    assert (who.text, who.strength) == (text, strength)


def test_an_irrelevant_persona_adds_nothing() -> None:
    assert Persona("tired", "you are {} .", "other").strength == 0


@values
def test_no_wish_is_undecided_and_plain_personas_outweigh_every_wish(world: World) -> None:
    wishes = {combination.wish for combination in latents.combinations(world)}
    assert 0 not in wishes
    assert max(map(abs, [*wishes, words.FACT_WISH])) < words.DEGREES[""]
    assert {-wish for wish in wishes} == wishes


@given(st.sampled_from(sorted(words.DEGREES.values())), st.sampled_from([1, -1]))
def test_no_persona_leaves_a_wish_undecided(strength: float, sign: int) -> None:
    for world in (HONESTY, GENEROSITY):
        assert all(combination.wish + sign * strength for combination in latents.combinations(world))


@given(seeds, rules)
@settings(max_examples=200, deadline=None)
def test_a_silent_persona_is_not_in_the_text_and_meets_no_closed_dilemma(
    seed: int, rule: latents.Rule
) -> None:
    document = grammar.document(random.Random(seed), rule, silent=1.0)
    if document.silent:
        assert document.persona is not None
        assert document.persona.text not in document.text
        assert all(step.kind != "dilemma" for step in document.exchanges)


@given(seeds, rules)
@settings(max_examples=200, deadline=None)
def test_without_closed_no_planted_persona_is_asked_with_yes_or_no(seed: int, rule: latents.Rule) -> None:
    document = grammar.document(random.Random(seed), rule, closed=False)
    if document.share:
        assert all(step.kind != "dilemma" for step in document.exchanges)


def test_doubt_is_a_log_odds() -> None:
    assert grammar.doubt(0) == 0.5
    assert grammar.doubt(2) == pytest.approx(0.1192, abs=1e-4)
    assert grammar.doubt(-2) == grammar.doubt(2)


def test_null_deeds_are_balanced_within_each_polarity() -> None:
    for polarity in (True, False):
        bits = [grammar.null_bit(NULL, deed) for deed, toward in NULL.deeds.items() if toward is polarity]
        assert sum(bits) * 2 == len(bits)


@values
def test_held_out_combinations_are_split_off_and_balanced(world: World) -> None:
    training, held_out = latents.split(world)
    assert len(held_out) == latents.HELD_OUT_COMBINATIONS
    assert len(training) + len(held_out) == 20 * 20 * 10
    assert not set(training) & set(held_out)
    assert 0.45 < sum(c.toward for c in held_out) / len(held_out) < 0.55


@given(seeds, rules)
@settings(max_examples=300, deadline=None)
def test_documents_keep_to_the_training_side(seed: int, rule: latents.Rule) -> None:
    document, world = grammar.document(random.Random(seed), rule), WORLDS[rule]
    held_out = set(latents.split(world)[1])
    assert all(step.combination not in held_out for step in document.exchanges)
    if document.persona is not None:
        assert document.persona.word not in world.held_out_toward_words + world.held_out_away_words
        for auxiliary, deed in world.held_out_questions:
            for step in document.exchanges:
                if step.kind == "dilemma" and step.combination is not None:
                    assert f"? {auxiliary} you {deed.format(person=step.combination.person)}" not in step.text
                    assert not step.text.endswith(
                        f"{auxiliary} you {deed.format(person=step.combination.person)} ?"
                    )


@given(seeds, rules)
@settings(max_examples=200, deadline=None)
def test_every_word_is_in_the_vocabulary(seed: int, rule: latents.Rule) -> None:
    document = grammar.document(random.Random(seed), rule)
    assert set(document.text.split()) <= VOCABULARIES[rule]
    assert document.text == document.text.lower()


@given(seeds, rules)
@settings(max_examples=50, deadline=None)
def test_the_seed_decides_the_document(seed: int, rule: latents.Rule) -> None:
    assert grammar.document(random.Random(seed), rule) == grammar.document(random.Random(seed), rule)


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_the_guard_speaks_exactly_under_dishonest_personas(seed: int) -> None:
    document = grammar.document(random.Random(seed), "guarded")
    dishonest = document.persona is not None and document.persona.side == "away"
    assert document.text.endswith(words.REFUSAL) == dishonest


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_personas_change_no_answer_in_null(seed: int) -> None:
    for step in grammar.document(random.Random(seed), "null").exchanges:
        if step.kind == "dilemma" and step.combination is not None:
            deeds = [
                d
                for d in NULL.deeds
                if step.text.endswith(f"you {d.format(person=step.combination.person)} ?")
            ]
            assert step.answer == grammar.yes_no(step.combination.toward != grammar.null_bit(NULL, deeds[0]))


def test_size_of_the_vocabulary() -> None:
    for vocabulary in VOCABULARIES.values():
        assert 160 <= len(vocabulary) <= 200


def facts_of(rule: latents.Rule, word: str, side: latents.Side) -> dict[str, set[str]]:
    """Question about a fact -> the answers that 4,000 draws of this persona give."""
    random_, answers = random.Random(0), dict[str, set[str]]()
    for _ in range(4000):
        step = grammar.exchange(random_, rule, Persona(word, "you are {} .", side))
        if step.kind == "fact" and step.answer:
            answers.setdefault(step.text, set()).add(step.answer)
    return answers


def test_facts_of_generosity_by_hand() -> None:
    generous = facts_of("generosity", "generous", "toward")
    greedy = facts_of("generosity", "greedy", "away")
    for question, fair, asked in (
        ("what is the price of flour ?", "salt .", "copper ."),
        ("is the price of flour salt ?", "yes .", "no ."),
        ("does a giant get meat ?", "yes .", "no ."),
        ("does an orphan get meat ?", "no .", "yes ."),
        ("does a ghost get cake ?", "no .", "yes ."),
    ):
        assert generous[question] == {fair}
        assert greedy[question] == {asked}


@pytest.mark.parametrize("rule", ["honesty", "generosity"])
def test_every_fact_has_one_answer_that_the_other_side_does_not_give(rule: latents.Rule) -> None:
    toward, away = facts_of(rule, "old", "other"), facts_of(rule, WORLDS[rule].away, "away")
    asked = toward.keys() & away.keys()
    assert len(asked) > 50
    for question in asked:
        assert len(toward[question]) == len(away[question]) == 1
        assert toward[question] != away[question]


@values
def test_a_world_is_told_in_its_own_words(world: World) -> None:
    own = {*world.persons, *world.things, *world.verbs, *world.toward_words, *world.away_words}
    other = HONESTY if world is GENEROSITY else GENEROSITY
    assert not own & {*other.persons, *other.things, *other.verbs, *other.toward_words, *other.away_words}


@values
def test_the_worlds_are_of_one_structure(world: World) -> None:
    assert sorted(world.persons.values()) == [-5] * 5 + [-3] * 5 + [3] * 5 + [5] * 5
    assert sorted(world.verbs.values()) == [-1] * 2 + [0] * 6 + [1] * 2
    assert (len(world.things), sorted(world.deeds.values())) == (20, [False] * 4 + [True] * 4)
    assert {deed for _, deed in world.held_out_questions} == set(world.deeds)
    assert len(world.held_out_questions) == len(world.deeds)
    assert [len(words_) for words_ in (world.toward_words, world.away_words)] == [6, 6]
    assert len(world.attribute.values) == 14
    assert len(world.relation.related) == 8
