import pytest

from gnomon.contrast import article, fill
from gnomon.contrast.words import checked_lines, checked_template, checked_word
from gnomon.errors import UsageError

AN = (
    "honest honesty honourable honorable hour hourly heir heiress apple egg idle open ugly umbrella unable unaware "
    "unimportant uninteresting unintelligent unidentified under uncle upright utter usher urgent onerous "
    "8-year-old 80 11 18 18th 8 FBI MRI AI X-ray F évident"
)
A = (
    "dishonest kind house hotel horse unicorn uniform unique union united university unit universal unimodal "
    "unidirectional unanimous European eulogy ewe user useful used usual utopian Ukrainian Ugandan Uruguayan "
    "ubiquitous one one-sided once 1 7 10 118 180 UFO UN US youthful B truthful year"
)


@pytest.mark.parametrize("word", AN.split())
def test_words_that_begin_with_a_vowel_sound(word: str) -> None:
    assert article(word) == "an"


@pytest.mark.parametrize("word", A.split())
def test_words_that_begin_with_a_consonant_sound(word: str) -> None:
    assert article(word) == "a"


def test_case_and_opening_quotes_do_not_matter() -> None:
    assert article("Honest") == "an"
    assert article('"honest"') == "an"
    assert article("'user'") == "a"
    assert article("...") == "a"


def test_the_article_fits_the_word_that_follows_it() -> None:
    assert fill("you are {a} {} person .", "honest") == "you are an honest person ."
    assert fill("you are {a} {} person .", "dishonest") == "you are a dishonest person ."
    assert fill("Be {a} very {} friend.", "honest") == "Be a very honest friend."
    assert fill("{a} honest {} and {a} user", "man") == "an honest man and a user"
    assert fill("Be {}.", "kind and open") == "Be kind and open."


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("You are honest.", "has 0 places"),
        ("You are {} and {}.", "has 2 places"),
        ("You are {word} or {}.", "brace of its own"),
        ("You are {A} {}.", "brace of its own"),
        ("{} is {a}", "ends in {a}"),
    ],
)
def test_a_template_that_cannot_give_one_span_is_refused(template: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        checked_template(template)


@pytest.mark.parametrize("word", ["", "  ", "!?", None, False, "{}", "{a} liar"])
def test_what_is_no_word_is_refused(word: object) -> None:
    with pytest.raises(UsageError, match="the away word"):
        checked_word(word, "away")


def test_words_and_lines_lose_stray_spaces_and_repeats() -> None:
    assert checked_word("  very\t honest ", "toward") == "very honest"
    assert checked_lines(["b ", "a", "b"], "suffixes") == ("b", "a")


@pytest.mark.parametrize("lines", ["one text", 3, ["a", ""], ["a", None]])
def test_what_is_no_list_of_lines_is_refused(lines: object) -> None:
    with pytest.raises(UsageError, match="suffixes"):
        checked_lines(lines, "suffixes")
