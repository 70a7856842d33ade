"""The diversity of suffixes: by hand, in its limits, and on lists of which one knows how diverse they are."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon import touchstones
from gnomon.contrast import Contrast, SuffixDiversity, packaged, suffix_diversity
from gnomon.contrast.diversity import LOW, effective_words
from gnomon.lm import LM, Chat

FEW = settings(max_examples=25, deadline=None, derandomize=True)
TEXTS = st.lists(
    st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6).map(" ".join), min_size=1, max_size=8
)
HONESTY = touchstones.contrast("honesty")["suffixes"]
KINDS = {
    "facts": [s for s in HONESTY if s.startswith(("the ", "is the ", "what colour "))],
    "abilities": [s for s in HONESTY if s.startswith(("a ", "can "))],
    "arithmetic": [s for s in HONESTY if "plus" in s],
    "preferences": [s for s in HONESTY if s.startswith(("i ", "do "))],
    "situations": [s for s in HONESTY if s.startswith("you ")],
}


def test_words_by_hand() -> None:
    # Shares 1/4, 1/4 and 1/2: an entropy of 1.5 bits.
    assert effective_words(["sky blue", "grass"]) == pytest.approx(2**1.5)
    assert effective_words(["one two three four"]) == pytest.approx(4)
    assert effective_words(["one", "two", "one"]) == pytest.approx(
        math.exp(-2 / 3 * math.log(2 / 3) + math.log(3) / 3)
    )


def test_a_text_counts_once_however_often_it_says_a_word() -> None:
    assert effective_words(["no no no yes", "maybe"]) == pytest.approx(effective_words(["no yes", "maybe"]))
    assert effective_words(["Yes, no!", "YES? No."]) == pytest.approx(2)


@pytest.mark.parametrize("texts", [[], ["", "..."], ["?"]])
def test_texts_without_words_have_none(texts: list[str]) -> None:
    assert effective_words(texts) == 0


@FEW
@given(texts=TEXTS)
def test_there_are_never_more_than_there_are_different_ones(texts: list[str]) -> None:
    different = {word for text in texts for word in text.split()}
    assert 1 - 1e-9 <= effective_words(texts) <= len(different) + 1e-9
    assert effective_words(texts * 3) == pytest.approx(effective_words(texts))
    assert effective_words(texts[::-1]) == pytest.approx(effective_words(texts))


@FEW
@given(one=TEXTS, other=TEXTS)
def test_lists_without_a_common_word_add_up_if_they_are_alike_in_size(
    one: list[str], other: list[str]
) -> None:
    """Of two lists with weights p and q the entropies' mean and that of the weights add up."""
    apart = [text.upper().replace(" ", " x").replace("A", "xA") for text in other]
    apart = [" ".join("other" + word for word in text.split()) for text in apart]
    p = len(one) / (len(one) + len(other))
    logs = p * math.log(effective_words(one)) + (1 - p) * math.log(effective_words(apart))
    own = -p * math.log(p) - (1 - p) * math.log(1 - p)
    assert effective_words([*one, *apart]) == pytest.approx(math.exp(logs + own))


def test_each_suffix_counts_once_whatever_it_stands_behind() -> None:
    plain = ("the sky is blue .", "the sky is blue .", "do you like tea ?")
    assert suffix_diversity(plain) == SuffixDiversity(2, effective_words([plain[0], plain[2]]))
    chats = [Chat(user="Say something.", assistant=text) for text in plain]
    assert suffix_diversity(chats) == suffix_diversity(plain)


@pytest.mark.parametrize("kind", KINDS)
def test_suffixes_of_one_kind_are_warned_of(kind: str) -> None:
    assert sum(map(len, KINDS.values())) == len(HONESTY)
    found = suffix_diversity(KINDS[kind])
    assert found.warning is not None
    assert found.warning.startswith(f"the {len(KINDS[kind])} suffixes are alike: they amount to ")
    assert "add suffixes of other kinds" in found.warning
    assert "\n" not in found.warning


def test_suffixes_of_all_kinds_are_not() -> None:
    every = suffix_diversity(HONESTY)
    assert every.warning is None
    assert every.words > 2 * max(suffix_diversity(own).words for own in KINDS.values())
    # The same number of lines, from all kinds instead of one.
    mixed = [line for own in KINDS.values() for line in own[::5]]
    assert len(mixed) < len(KINDS["situations"])
    assert suffix_diversity(mixed).words > 1.5 * suffix_diversity(KINDS["situations"]).words


def test_the_limit_itself_is_enough() -> None:
    words = [f"word{number}" for number in range(int(LOW))]
    assert suffix_diversity(words).words == pytest.approx(LOW)
    assert SuffixDiversity(5, LOW).warning is None
    assert suffix_diversity(words[1:]).warning is not None


def test_the_packaged_suffixes_are_diverse_and_a_frame_with_one_gap_is_not() -> None:
    lines = packaged("suffixes")
    assert suffix_diversity(lines).words > 400
    assert suffix_diversity(lines[::10]).warning is None
    towns = [line.split()[0] for line in lines[:60]]
    assert suffix_diversity([f"{town} is the capital of a country in the south." for town in towns]).warning


@pytest.mark.data
def test_a_model_that_others_trained_reads_the_packaged_suffixes(public_data) -> None:
    lm = LM.load(public_data / "models" / "stories260K" / "hf", device="cpu")
    pairs = Contrast("happy", "sad").resolve(lm)
    found = suffix_diversity(pairs.plain)
    assert (found.suffixes, found.warning) == (400, None)
    assert found.words == pytest.approx(effective_words(packaged("suffixes")))
