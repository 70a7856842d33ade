"""The packaged lists must be diverse: a floor under each measure, well below what the lists reach."""

import itertools
import re
from pathlib import Path

import pytest

from gnomon import questions
from gnomon.contrast import fill, packaged, read_lines
from gnomon.contrast.pairs import near_duplicates
from gnomon.contrast.words import checked_template
from gnomon.errors import UsageError


def words(line: str) -> list[str]:
    return re.findall(r"[\w']+", line.lower())


EMPTY = re.findall(
    r"\w+", "your with that have from this than them they were what when which whether about would will"
)
SUFFIXES = [words(line) for line in packaged("suffixes")]


def test_there_are_400_suffixes_without_repeats_or_near_duplicates() -> None:
    lines = packaged("suffixes")
    assert len(lines) == 400
    assert len({" ".join(words(line)) for line in lines}) == 400
    assert len(near_duplicates(lines)) == 400


def test_suffixes_start_in_different_ways() -> None:
    assert len({line[0] for line in SUFFIXES}) >= 300
    assert len({tuple(line[:2]) for line in SUFFIXES}) >= 390


def test_suffixes_have_many_words_and_lengths() -> None:
    running = [word for line in SUFFIXES for word in line]
    assert len(set(running)) / len(running) > 0.4
    lengths = [len(line) for line in SUFFIXES]
    assert min(lengths) >= 2
    assert 12 <= max(lengths) <= 20
    assert max(lengths.count(length) for length in set(lengths)) < 120


def test_suffixes_share_few_pairs_of_words() -> None:
    bigrams = [set(itertools.pairwise(line)) for line in SUFFIXES]
    overlaps = [
        len(one & other) / len(one | other)
        for one, other in itertools.combinations(bigrams, 2)
        if one | other
    ]
    assert sum(overlaps) / len(overlaps) < 0.003
    assert max(overlaps) < 0.5


def test_suffixes_are_of_several_kinds() -> None:
    lines = packaged("suffixes")
    assert sum(line.endswith("?") for line in lines) >= 15
    assert sum(line.endswith((".", "!")) for line in lines) >= 15
    assert sum(line[-1].isalpha() for line in lines) >= 200


@pytest.mark.parametrize(
    ("kind", "pattern", "least"),
    [
        ("bare situations", r"^[^?]*\byou(r)?\b[^?]*\.$", 65),
        ("questions", r"\?$", 25),
        (
            "abilities",
            r"^(an? |no |does |can |could |is an? |with its |\w+s )[^?]*\b(can|cannot|able|good at|swim|fly|climb|chew"
            r"|carry|turn|repeat|remember|find|sleep|taste)\b",
            15,
        ),
        (
            "preferences",
            r"\b(favourite|rather|prefers?|likes?|enjoy|suits|stand the|cared for|bore|never choose|always ask)\b",
            12,
        ),
        (
            "arithmetic",
            r"\b(times|plus|minus|half of|divided|twice|root|multiply|add the numbers|leaves|from eleven)\b",
            12,
        ),
        (
            "begun answers",
            r"^(sure|of course|yes|no|well|fine|great|let me|let's|hm|it depends|perhaps|actually|as far as|here's"
            r"|to answer|that's|my first|excellent|in my opinion|sorry|put simply|briefly|roughly)\b",
            18,
        ),
        (
            "requests",
            r"^(please|tell|give|make|write|run|check|ask|open|add|mix|fold|set|turn|peel|translate|choose|try)\b",
            15,
        ),
        ("code", r"[({=]|import |SELECT|git ", 5),
    ],
)
def test_suffixes_are_of_this_kind_too(kind: str, pattern: str, least: int) -> None:
    found = [line for line in packaged("suffixes") if re.search(pattern, line, re.IGNORECASE)]
    assert len(found) >= least, found


def test_suffixes_are_silent_about_the_values_that_people_steer() -> None:
    values = """honest honestly dishonest frankly lie lies lied lying liar truth truthful evil kind kindly cruel generous
    greedy selfish brave coward cowardly loyal fair unfair polite rude humble arrogant trust betray"""
    assert not set(values.split()) & {word for line in SUFFIXES for word in line}


def test_no_suffix_asks_or_answers_what_should_be_done() -> None:
    """A bare situation stops before the question, and none is that of a packaged question."""
    asked = {question.prompt.user for question in questions.load("honesty").targets}
    told = {frozenset(content(sentence)) for text in asked for sentence in re.split(r"(?<=[.?])\s", text)}
    for line in packaged("suffixes"):
        if not re.search(r"\byou(r)?\b", line):
            continue
        assert not re.search(
            r"\b(should|ought|admit|confess|own up|give it back)\b|\bdo you (tell|say|report)\b", line
        )
        own = content(line)
        if line.endswith(".") and len(own) > 2:
            assert max(len(own & other) / len(own) for other in told) < 0.5, line


def content(text: str) -> set[str]:
    """The words of a text that are about something."""
    return {word for word in words(text) if len(word) > 3 and word not in EMPTY}


def test_packaged_templates_are_valid_and_some_need_the_article() -> None:
    templates = packaged("templates")
    assert len(templates) == len(set(templates)) == 10
    assert sum("{a}" in template for template in templates) >= 3
    for template in templates:
        filled = fill(checked_template(template), "honest")
        assert "{" not in filled
        assert filled.endswith(".")


def test_a_file_has_one_line_per_text(tmp_path: Path) -> None:
    path = tmp_path / "suffixes.txt"
    path.write_bytes("\ufeffone \r\n\r\n  # two\u2028still two\n".encode())
    assert read_lines(path) == ("one", "# two\u2028still two")


@pytest.mark.parametrize("content", [b"", b" \n\n", b"\xff\xfe\x00", None])
def test_a_file_without_text_is_refused(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "suffixes.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UsageError, match=re.escape(str(path))):
        read_lines(path)
