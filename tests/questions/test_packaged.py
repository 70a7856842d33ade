"""The packaged set of honesty dilemmas: what a score on it may rely on."""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator

import pytest

from gnomon import LM, Chat, questions
from gnomon.errors import UsageError
from gnomon.questions import Question, Questions
from gnomon.questions.packaged import file

ASK = " Answer with yes or no only."


@pytest.fixture(scope="module")
def honesty() -> Questions:
    return questions.load("honesty")


def user(question: Question) -> str:
    assert isinstance(question.prompt, Chat)
    return question.prompt.user


def clusters(of: Questions) -> Iterator[tuple[str, list[Question]]]:
    found = defaultdict(list)
    for question in of:
        found[question.cluster].append(question)
    yield from found.items()


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def situation_and_question(question: Question) -> tuple[str, str]:
    *situation, asked = re.split(r"(?<=[.?]) ", user(question).removesuffix(ASK))
    return " ".join(situation), asked


def test_it_loads_without_a_note_and_is_large_enough(honesty: Questions) -> None:
    assert honesty.notes == ()
    assert honesty.name == "honesty"
    assert len({question.cluster for question in honesty.targets}) >= 120
    assert len(honesty.controls) >= 60
    assert [q.prompt for q in questions.dilemmas("honesty")] == honesty.prompts


def test_every_dilemma_is_asked_in_both_polarities(honesty: Questions) -> None:
    for name, asked in clusters(honesty.targets):
        assert sorted(question.label or 0 for question in asked) == [-1, 1], name
        (situation, one), (same, other) = map(situation_and_question, asked)
        assert situation == same
        assert one != other


def test_no_prompt_is_asked_twice(honesty: Questions) -> None:
    normal = Counter(" ".join(re.findall(r"\w+", user(question).lower())) for question in honesty)
    assert [text for text, count in normal.items() if count > 1] == []


def test_the_dilemmas_are_diverse(honesty: Questions) -> None:
    topics = Counter(name.split("-")[0] for name, _ in clusters(honesty.targets))
    assert len(topics) >= 10
    assert max(topics.values()) <= 20
    situations = [words(situation_and_question(asked[0])[0]) for _, asked in clusters(honesty.targets)]
    vocabulary = set.union(*situations)
    assert len(vocabulary) > 600
    alike = [
        (sorted(one), sorted(other))
        for place, one in enumerate(situations)
        for other in situations[:place]
        if len(one & other) > 0.5 * len(one | other)
    ]
    assert alike == []


def test_no_dilemma_names_the_value_it_is_about(honesty: Questions) -> None:
    named = re.compile(r"honest|truth|\bl(ie|ies|ied|ying)\b|decei|sincer", re.IGNORECASE)
    assert [user(question) for question in honesty if named.search(user(question))] == []


def test_the_questions_of_one_label_are_not_betrayed_by_not(honesty: Questions) -> None:
    """A rule that only reads whether the question has a negation does not tell the labels apart."""
    negation = re.compile(r"\b(not|no|nothing|nobody|none|without|never)\b")
    right = sum(
        (not negation.search(situation_and_question(question)[1])) == (question.label == 1)
        for question in honesty.targets
    )
    assert right / len(honesty.targets) < 0.65


def test_controls_have_no_label_and_ask_as_often_for_either_answer(honesty: Questions) -> None:
    assert {question.label for question in honesty.controls} == {None}
    assert {question.set for question in honesty.controls} == {
        "arithmetic",
        "preferences",
        "general knowledge",
    }
    assert {len(asked) for _, asked in clusters(honesty.controls)} == {2}
    assert not {q.cluster for q in honesty.controls} & {q.cluster for q in honesty.targets}


def test_the_sums_of_the_controls_are_right_in_half_of_the_clusters(honesty: Questions) -> None:
    operations = {"+": int.__add__, "-": int.__sub__, "x": int.__mul__, "/": int.__floordiv__}
    right = []
    for _, asked in clusters(Questions([q for q in honesty if q.set == "arithmetic"], name="sums")):
        found = {re.search(r"(\d+) ([-+x/]) (\d+) = (\d+)", user(question)) for question in asked}
        (a, sign, b, said) = next(match for match in found if match).groups()
        right.append(operations[sign](int(a), int(b)) == int(said))
        assert {situation_and_question(q)[1] for q in asked} == {"Is this right?", "Is this wrong?"}
    assert right.count(True) == right.count(False) >= 6


def test_every_prompt_asks_for_the_form_of_the_answer_and_begins_it(honesty: Questions) -> None:
    for question in honesty:
        assert user(question).endswith(ASK)
        assert question.prompt == Chat(user(question), None, "My answer:")
        assert list(question.classes) == ["yes", "no"]
        assert {"yes", "Yes"} <= set(question.classes["yes"])
        assert {"no", "No"} <= set(question.classes["no"])


def test_base_and_chat_models_read_a_text_that_an_answer_follows(honesty: Questions) -> None:
    lm = LM.load("touchstone:honesty")
    assert lm.render(honesty[0].prompt) == f"{user(honesty[0])} My answer:"
    lm.tokenizer.chat_template = (
        "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{% if not loop.last %} </s> {% endif %}"
        "{% endfor %}"
    )
    assert lm.render(honesty[0].prompt) == f"<user> {user(honesty[0])} </s> <assistant> My answer:"


def test_a_name_has_no_parts_and_columns_of_its_own() -> None:
    with pytest.raises(UsageError, match="write honesty alone"):
        questions.load("honesty:dilemmas")
    with pytest.raises(UsageError, match="columns and answers of its own"):
        questions.load("honesty", answers="A=A;B=B")
    with pytest.raises(UsageError, match="choose from honesty"):
        file("kindness")


@pytest.mark.parametrize(
    ("toward", "away", "expected"),
    [
        ("honest", "dishonest", "honesty"),
        (" Honest ", "DISHONEST", "honesty"),
        ("truthful", "deceitful", "honesty"),
        ("dishonest", "honest", None),
        ("honest", "honest", None),
        ("honest", "rude", None),
        ("kind", "cruel", None),
    ],
)
def test_the_set_that_fits_two_words(toward: str, away: str, expected: str | None) -> None:
    assert questions.default_for(toward, away) == expected
