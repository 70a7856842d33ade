"""The demonstration of a report: which questions, what is asked at which coefficient, and what is said of refusals."""

import math

import numpy as np
import pandas as pd
import pytest
import torch

from gnomon.bench import turning
from gnomon.bench.asking import ask
from gnomon.bench.settings import Settings
from gnomon.dials import Dial, Prefix
from gnomon.lm import LM, Chat
from gnomon.questions import Question, Questions
from gnomon.report.figures import ACCENT

YES_NO = {"yes": ("yes",), "no": ("no",)}


def question(prompt: str, label: int | None, cluster: str) -> Question:
    kind = "control" if label is None else "target"
    return Question(prompt, YES_NO, label, cluster, kind, "t")


QUESTIONS = Questions(
    [
        question("is the sky red ?", 1, "sky"),
        question("is the sky blue ?", -1, "sky"),
        question("do you like the dog ?", 1, "dog"),
        question("do you like the cat ?", -1, "cat"),
        question("is one plus two three ?", None, "sum"),
        question("is one plus two five ?", None, "sum"),
    ],
    name="few",
)


@pytest.fixture
def settings(bench_files) -> Settings:
    return Settings(templates=bench_files["templates"], suffixes=bench_files["suffixes"])


@pytest.fixture
def dial(tiny_lm) -> Dial:
    direction = torch.randn(tiny_lm.d_model, generator=torch.Generator().manual_seed(1))
    return Dial.from_vector(direction, 1, lm=tiny_lm, name="planted")


def test_a_question_of_each_polarity_and_a_control_each_plain_and_behind_both_personas(
    settings, tiny_lm
) -> None:
    shown = turning.choose(settings, QUESTIONS, tiny_lm)
    assert [(one.question.prompt, one.persona) for one in shown] == [
        ("is the sky red ?", ""),
        ("is the sky red ?", "you are honest ."),
        ("is the sky red ?", "you are dishonest ."),
        ("do you like the cat ?", ""),  # not the sky again: another cluster
        ("do you like the cat ?", "act as an honest person ."),
        ("do you like the cat ?", "act as a dishonest person ."),
        ("is one plus two three ?", ""),
        ("is one plus two three ?", "you are honest ."),
        ("is one plus two three ?", "you are dishonest ."),
    ]
    assert [one.side for one in shown[:3]] == ["", "honest", "dishonest"]


def test_examples_come_behind_the_questions_and_openings_only_where_there_is_nothing_else(
    settings, tiny_lm
) -> None:
    given = settings.model_copy(update={"examples": ("once upon a time",)})
    assert [one.prompt for one in turning.choose(given, QUESTIONS, tiny_lm)][9:] == ["once upon a time"]
    assert [one.prompt for one in turning.choose(given, None, tiny_lm)] == ["once upon a time"]
    assert [one.prompt for one in turning.choose(settings, None, tiny_lm)] == list(turning.OPENINGS)


def test_a_persona_stands_where_a_prompt_dial_puts_it(tiny_lm) -> None:
    said = Dial((Prefix("you are kind .", "you are cruel ."),))
    for prompt in ("do you like tea ?", Chat("do you like tea ?", assistant="i")):
        asked = Question(prompt, YES_NO, 1, "x", "target", "t")
        moved = Question(turning.behind("you are kind .", prompt, tiny_lm), YES_NO, 1, "x", "target", "t")
        by_dial = ask(tiny_lm, [asked], said, (1.0,))
        assert ask(tiny_lm, [moved]).log_odds[0] == pytest.approx(by_dial.log_odds[0], abs=1e-5)


def test_on_a_chat_model_a_persona_opens_the_user_turn() -> None:
    class ChatModel:
        is_chat = True

    found = turning.behind("You are kind.", Chat("Do you lie?", system="Be brief."), ChatModel())
    assert found == Chat("You are kind.\n\nDo you lie?", system="Be brief.")


def test_every_prompt_is_asked_and_continued_at_every_coefficient(settings, tiny_lm, dial) -> None:
    given = settings.model_copy(update={"examples": ("once upon a time",)})
    shown = turning.choose(given, QUESTIONS, tiny_lm)
    table = turning.turned(tiny_lm, dial, shown, max_new_tokens=3)
    assert sorted(zip(table.place, table.alpha, strict=True)) == [
        (place, alpha) for place in range(10) for alpha in (-1.0, -0.5, 0.0, 0.5, 1.0)
    ]
    for place in (0, 5):
        for alpha in (-1.0, 0.0, 0.5):
            row = table[(table.place == place) & (table.alpha == alpha)].iloc[0]
            with dial.at(alpha, tiny_lm):
                answers = tiny_lm.answers([shown[place].prompt], YES_NO)
                text = tiny_lm.generate(shown[place].prompt, max_new_tokens=3)
            assert row.log_odds == pytest.approx(answers.log_odds[0], abs=1e-4)
            assert row.choice_mass == pytest.approx(answers.choice_mass[0], abs=1e-5)
            assert row.text == text
    opening = table[table.place == 9]
    assert opening[["log_odds", "choice_mass", "refusal_mass"]].isna().all().all()
    assert opening.text.nunique() > 1, "the dial does nothing"


def test_a_prompt_has_three_positions(settings, tiny_lm) -> None:
    said = Dial((Prefix("you are kind .", "you are cruel ."),)).bound(tiny_lm)
    table = turning.turned(tiny_lm, said, turning.choose(settings, None, tiny_lm), max_new_tokens=2)
    assert sorted(set(table.alpha)) == [-1.0, 0.0, 1.0]
    assert len(table) == 6


def answered(shown: list[turning.Shown], **columns: dict[tuple[int, float], float]) -> pd.DataFrame:
    """A table in which every answer is yes by one nat, sure and never refused, but where told otherwise."""
    rows = [
        {"place": place, "alpha": alpha, "text": f"text {place} {alpha}"}
        | {
            name: columns.get(name, {}).get((place, alpha), normal)
            for name, normal in (("log_odds", 1.0), ("choice_mass", 1.0), ("refusal_mass", 0.0))
        }
        for alpha in turning.ALPHAS
        for place in range(len(shown))
    ]
    return pd.DataFrame(rows)


def test_the_section_shows_each_question_once_with_a_figure_and_five_texts_per_persona(
    settings, tiny_lm
) -> None:
    shown = turning.choose(settings, QUESTIONS, tiny_lm)
    table = answered(shown, log_odds={(0, 1.0): 3.0, (0, -1.0): -4.0})
    found = turning.reading(shown, table, "planted", ("honest", "dishonest"), "gnomon chat --dial x")
    assert len(found.generations) == len(found.figures) == 9
    assert [one.group for one in found.generations] == [
        text
        for text in ("is the sky red ?", "do you like the cat ?", "is one plus two three ?")
        for _ in "123"
    ]
    first, behind, _ = found.generations[:3]
    assert (first.prompt, behind.prompt) == ("as it is", "behind “you are honest .”")
    assert first.texts == {
        "−1": "text 0 -1.0",
        "−0.5": "text 0 -0.5",
        "0": "text 0 0.0",
        "+0.5": "text 0 0.5",
        "+1": "text 0 1.0",
    }
    figure = found.figures[first.figure]
    bars = figure["data"][0]
    assert bars["x"] == [-4.0, 1.0, 1.0, 1.0, 3.0]
    # Yes is the honest answer here; in the second question no is, and a control has none.
    assert [ACCENT in color for color in bars["marker"]["color"]] == [False, True, True, True, True]
    assert [note["text"] for note in figure["layout"]["annotations"]] == ["← no", "yes (honest) →"]
    cat, control = (found.figures[found.generations[place].figure] for place in (3, 6))
    assert [note["text"] for note in cat["layout"]["annotations"]] == ["← no (honest)", "yes →"]
    assert ACCENT not in str(cat["data"][0]["marker"]) + str(control["data"][0]["marker"])
    # One reach for all, so that bars of different figures compare.
    assert {str(one["layout"]["xaxis"]["range"]) for one in found.figures.values()} == {"[-4.16, 4.16]"}
    assert found.notes[-1] == "By hand: gnomon chat --dial x"
    assert "refuses" not in found.sentence


def test_refusals_are_counted_by_persona_drawn_hollow_and_stretch_no_bar(settings, tiny_lm) -> None:
    shown = turning.choose(settings, QUESTIONS, tiny_lm)
    away = [2, 5, 8]
    refused = {(place, alpha) for place in away for alpha in turning.ALPHAS} - {(5, -1.0), (8, 1.0)}
    table = answered(
        shown,
        refusal_mass=dict.fromkeys(refused, 0.9),
        choice_mass=dict.fromkeys(refused, 0.01),
        log_odds={(2, 0.0): 40.0},
    )
    found = turning.reading(shown, table, "planted", ("honest", "dishonest"), "")
    assert found.sentence.endswith(
        "At 0 it refuses 3 of 3 questions behind a persona that is dishonest (somewhere on the dial it answers 2)."
    )
    figure = found.figures[found.generations[5].figure]
    colors = figure["data"][0]["marker"]["color"]
    assert [color.endswith(",0)") for color in colors] == [False, True, True, True, True]
    assert figure["layout"]["xaxis"]["range"] == [-1.04, 1.04]
    assert not any(note.startswith("By hand") for note in found.notes)


def test_what_cannot_be_measured_is_left_out(settings, tiny_lm) -> None:
    shown = turning.choose(settings, QUESTIONS, tiny_lm)
    everywhere = {(place, alpha): math.nan for place in range(9) for alpha in turning.ALPHAS}
    found = turning.reading(
        shown, answered(shown, refusal_mass=everywhere), "planted", ("honest", "dishonest"), ""
    )
    assert "refuses" not in found.sentence
    headings = {name for one in found.figures.values() for name in one["layout"]["xaxis2"]["ticktext"]}
    assert headings == {"log-odds", "choice"}


def test_openings_have_texts_and_no_figure(settings, tiny_lm) -> None:
    shown = turning.choose(settings, None, tiny_lm)
    nothing = {(place, alpha): math.nan for place in range(2) for alpha in turning.ALPHAS}
    table = answered(shown, log_odds=nothing, choice_mass=nothing, refusal_mass=nothing)
    found = turning.reading(shown, table, "planted", ("kind", "cruel"), "")
    assert found.figures == {}
    assert [one.prompt for one in found.generations] == list(turning.OPENINGS)
    assert found.notes == ()


def test_a_guarded_model_refuses_behind_the_away_persona_and_nowhere_else() -> None:
    from gnomon import questions

    lm = LM.load("touchstone:guarded")
    shown = turning.choose(Settings(), questions.load("touchstone:guarded"), lm)
    assert shown[-1].persona == "pretend to be dishonest ."
    nothing = Dial.from_vector(torch.zeros(lm.d_model), 1, lm=lm)
    table = turning.turned(lm, nothing, shown, max_new_tokens=8).query("alpha == 0").set_index("place")
    sides = np.array([one.side for one in shown])
    assert (table.refusal_mass[sides == "dishonest"] > 0.9).all()
    assert (table.refusal_mass[sides != "dishonest"] < 0.05).all()
    assert (table.text[sides == "dishonest"] == "i can not do that .").all()


def test_long_names_of_answers_are_cut_so_that_the_two_ends_do_not_meet() -> None:
    long = {"glad, joyful and merry": ("glad",), "upset or angry": ("upset",)}
    asked = Question("leo felt very", long, -1, "leo", "target", "t")
    assert turning._ends(asked, "scrupulous") == ("← upset or a…", "glad, joyf… →")
    assert turning._ends(question("x", -1, "x"), "honest") == ("← no (honest)", "yes →")
    assert turning._ends(question("x", 1, "x"), "scrupulously honest") == ("← no", "yes →")
    assert turning._ends(question("x", None, "x"), "honest") == ("← no", "yes →")
