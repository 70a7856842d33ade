"""The packaged lists must be diverse: a floor under each measure, well below what the lists reach."""

import itertools
import re
from pathlib import Path

import pytest

from gnomon.contrast import fill, packaged, read_lines
from gnomon.contrast.pairs import near_duplicates
from gnomon.contrast.words import checked_template
from gnomon.errors import UsageError


def words(line: str) -> list[str]:
    return re.findall(r"[\w']+", line.lower())


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


def test_suffixes_are_silent_about_the_values_that_people_steer() -> None:
    values = {"honest", "honestly", "frankly", "lie", "lied", "liar", "truth", "truthful", "evil", "kind"}
    assert not values & {word for line in SUFFIXES for word in line}


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
