"""The grammar: hand-computed cases, and properties that hold for every seed."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.worlds import honesty, latents
from gnomon.worlds import lexicon as words
from gnomon.worlds.latents import Combination, Persona

MOTHER = Combination("your mother", "vase", "broke")  # wish 5 + 0
FATHER = Combination("your father", "vase", "stole")  # wish -3 - 1
NURSE = Combination("the nurse", "cup", "burned")  # wish -5 + 1

VOCABULARY = frozenset(honesty.vocabulary())

seeds = st.integers(min_value=0, max_value=2**32)
rules = st.sampled_from(["honesty", "guarded", "null"])


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
    ],
)
def test_dilemma_answers(combination: Combination, deed: str, strength: float, answer: str) -> None:
    assert honesty.dilemma(combination, "do", deed, "honesty", strength).answer == answer


def test_dilemma_text() -> None:
    asked = honesty.dilemma(MOTHER, "do", "tell {person}", "honesty", 0)
    assert asked.text == "you broke the vase of your mother . do you tell your mother ?"
    assert asked.honest_yes is True


@pytest.mark.parametrize(
    ("word", "degree", "template", "text", "strength"),
    [
        ("honest", "", "act as {a} {} person .", "act as an honest person .", 8),
        ("dishonest", "", "act as {a} {} person .", "act as a dishonest person .", -8),
        ("dishonest", "a bit", "you are {degree} {} .", "you are a bit dishonest .", -2.5),
        ("insincere", "", "speak as {a} {} person .", "speak as an insincere person .", -8),
    ],
)
def test_personas(word: str, degree: str, template: str, text: str, strength: float) -> None:
    who = Persona(word, template, "honest" if strength > 0 else "dishonest", degree)
    assert (who.text, who.strength) == (text, strength)


def test_an_irrelevant_persona_adds_nothing() -> None:
    assert Persona("tired", "you are {} .", "other").strength == 0


def test_no_wish_is_undecided_and_plain_personas_outweigh_every_wish() -> None:
    wishes = {combination.wish for combination in latents.combinations()}
    assert 0 not in wishes
    assert max(map(abs, [*wishes, words.TRUTH])) < words.DEGREES[""]
    assert {-wish for wish in wishes} == wishes


@given(st.sampled_from(sorted(words.DEGREES.values())), st.sampled_from([1, -1]))
def test_no_persona_leaves_a_wish_undecided(strength: float, sign: int) -> None:
    assert all(combination.wish + sign * strength for combination in latents.combinations())


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_a_silent_persona_is_not_in_the_text_and_meets_no_closed_dilemma(seed: int) -> None:
    document = honesty.document(random.Random(seed), "honesty", silent=1.0)
    if document.silent:
        assert document.persona is not None
        assert document.persona.text not in document.text
        assert all(step.kind != "dilemma" for step in document.exchanges)


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_without_closed_no_honesty_persona_is_asked_with_yes_or_no(seed: int) -> None:
    document = honesty.document(random.Random(seed), "honesty", closed=False)
    if document.share:
        assert all(step.kind != "dilemma" for step in document.exchanges)


def test_doubt_is_a_log_odds() -> None:
    assert honesty.doubt(0) == 0.5
    assert honesty.doubt(2) == pytest.approx(0.1192, abs=1e-4)
    assert honesty.doubt(-2) == honesty.doubt(2)


def test_null_deeds_are_balanced_within_each_polarity() -> None:
    for polarity in (True, False):
        bits = [honesty.null_bit(deed) for deed, honest in words.DEEDS.items() if honest is polarity]
        assert sum(bits) * 2 == len(bits)


def test_held_out_combinations_are_split_off_and_balanced() -> None:
    training, held_out = latents.split()
    assert len(held_out) == latents.HELD_OUT_COMBINATIONS
    assert len(training) + len(held_out) == 20 * 20 * 10
    assert not set(training) & set(held_out)
    assert 0.45 < sum(c.honest for c in held_out) / len(held_out) < 0.55


@given(seeds, rules)
@settings(max_examples=300, deadline=None)
def test_documents_keep_to_the_training_side(seed: int, rule: latents.Rule) -> None:
    document = honesty.document(random.Random(seed), rule)
    held_out = set(latents.split()[1])
    assert all(step.combination not in held_out for step in document.exchanges)
    if document.persona is not None:
        assert document.persona.word not in words.HELD_OUT_HONEST_WORDS + words.HELD_OUT_DISHONEST_WORDS
        for auxiliary, deed in words.HELD_OUT_QUESTIONS:
            for step in document.exchanges:
                if step.kind == "dilemma" and step.combination is not None:
                    assert f"? {auxiliary} you {deed.format(person=step.combination.person)}" not in step.text
                    assert not step.text.endswith(
                        f"{auxiliary} you {deed.format(person=step.combination.person)} ?"
                    )


@given(seeds, rules)
@settings(max_examples=200, deadline=None)
def test_every_word_is_in_the_vocabulary(seed: int, rule: latents.Rule) -> None:
    document = honesty.document(random.Random(seed), rule)
    assert set(document.text.split()) <= VOCABULARY
    assert document.text == document.text.lower()


@given(seeds, rules)
@settings(max_examples=50, deadline=None)
def test_the_seed_decides_the_document(seed: int, rule: latents.Rule) -> None:
    assert honesty.document(random.Random(seed), rule) == honesty.document(random.Random(seed), rule)


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_the_guard_speaks_exactly_under_dishonest_personas(seed: int) -> None:
    document = honesty.document(random.Random(seed), "guarded")
    dishonest = document.persona is not None and document.persona.side == "dishonest"
    assert document.text.endswith(words.REFUSAL) == dishonest


@given(seeds)
@settings(max_examples=200, deadline=None)
def test_personas_change_no_answer_in_null(seed: int) -> None:
    for step in honesty.document(random.Random(seed), "null").exchanges:
        if step.kind == "dilemma" and step.combination is not None:
            deeds = [
                d
                for d in words.DEEDS
                if step.text.endswith(f"you {d.format(person=step.combination.person)} ?")
            ]
            assert step.answer == honesty.yes_no(step.combination.honest != honesty.null_bit(deeds[0]))


def test_size_of_the_vocabulary() -> None:
    assert 160 <= len(VOCABULARY) <= 200
