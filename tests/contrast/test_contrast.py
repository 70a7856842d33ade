import json
import re
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from gnomon.contrast import REQUEST, Contrast, packaged
from gnomon.errors import UsageError
from gnomon.lm import Chat


@dataclass
class Tokenizer:
    unk_token_id: int | None = None
    bos_token_id: int | None = 0


@dataclass
class WordLM:
    """Encodes every word as one id; words outside `vocabulary` (None: all are inside) become the unknown token."""

    is_chat: bool = False
    touchstone: str | None = None
    vocabulary: frozenset[str] | None = None
    lowercase: bool = False
    name: str = "word-lm"
    tokenizer: Tokenizer = field(default_factory=lambda: Tokenizer(unk_token_id=1))
    ids: dict[str, int] = field(default_factory=dict)

    def render(self, prompt: str | Chat) -> str:
        if isinstance(prompt, Chat):
            return f"<user> {prompt.user} <assistant> {prompt.assistant}"
        return f"<user> {prompt} <assistant>" if self.is_chat else prompt

    def encode(self, prompts: list[str | Chat]) -> list[list[int]]:
        return self.encode_texts([self.render(prompt) for prompt in prompts])

    def encode_texts(self, texts: list[str]) -> list[list[int]]:
        return [[0, *map(self.word_id, text.split())] for text in texts]

    def word_id(self, word: str) -> int:
        word = word.lower() if self.lowercase else word
        if self.vocabulary is not None and word.strip(".") not in self.vocabulary:
            return 1
        return self.ids.setdefault(word, len(self.ids) + 2)


TEMPLATES = ("You are {a} {} person.", "Be {} now.")
SUFFIXES = tuple(f"number{index} is here" for index in range(8))


def small(**changes: object) -> Contrast:
    return Contrast(
        **{"toward": "honest", "away": "dishonest", "templates": TEMPLATES, "suffixes": SUFFIXES, **changes}
    )


def test_base_models_read_persona_and_suffix_as_plain_text() -> None:
    pairs = small().resolve(WordLM())
    assert len(pairs) == 16
    row = list(zip(pairs.template, pairs.suffix, strict=True)).index((0, 3))
    assert pairs.toward[row] == "You are an honest person. number3 is here"
    assert pairs.away[row] == "You are a dishonest person. number3 is here"
    assert pairs.plain[row] == "number3 is here"
    assert pairs.personas == (
        ("You are an honest person.", "You are a dishonest person."),
        ("Be honest now.", "Be dishonest now."),
    )
    assert pairs.words == ("honest", "dishonest")


def test_chat_models_get_the_suffix_as_a_begun_answer() -> None:
    pairs = small().resolve(WordLM(is_chat=True))
    row = list(zip(pairs.template, pairs.suffix, strict=True)).index((1, 0))
    assert pairs.toward[row] == Chat(user=f"Be honest now.\n\n{REQUEST}", assistant="number0 is here")
    assert pairs.away[row] == Chat(user=f"Be dishonest now.\n\n{REQUEST}", assistant="number0 is here")
    assert pairs.plain[row] == Chat(user=REQUEST, assistant="number0 is here")


def test_every_tuple_is_aligned_and_the_split_is_by_suffix() -> None:
    pairs = small(validation_share=0.4).resolve(WordLM(), seed=5)
    for t, a, plain, template, suffix in zip(
        pairs.toward, pairs.away, pairs.plain, pairs.template, pairs.suffix, strict=True
    ):
        assert plain == SUFFIXES[suffix]
        assert t == f"{pairs.personas[template][0]} {plain}"
        assert a == f"{pairs.personas[template][1]} {plain}"
    sides = {suffix: set() for suffix in pairs.suffix}
    for suffix, flag in zip(pairs.suffix, pairs.validation, strict=True):
        sides[suffix].add(flag)
    assert all(len(flags) == 1 for flags in sides.values())
    assert sum(flags == {True} for flags in sides.values()) == 3


def test_the_same_seed_gives_the_same_pairs() -> None:
    assert small().resolve(WordLM(), seed=1) == small().resolve(WordLM(), seed=1)
    assert small().resolve(WordLM(), seed=1) != small().resolve(WordLM(), seed=2)


def test_the_cap_keeps_every_template_and_both_sides_of_the_split() -> None:
    pairs = small(max_pairs=4).resolve(WordLM())
    assert len(pairs) == 4
    assert sorted(pairs.template) == [0, 0, 1, 1]
    assert len(set(pairs.suffix)) == 4
    assert set(pairs.validation) == {True, False}


def test_repeated_suffixes_and_templates_count_once() -> None:
    pairs = small(suffixes=("a b", "c d", " a b"), templates=("Be {}.", "Be {}. ")).resolve(WordLM())
    assert sorted(pairs.plain) == ["a b", "c d"]


def test_the_packaged_lists_are_used_where_nothing_is_given() -> None:
    pairs = Contrast("honest", "dishonest").resolve(WordLM())
    assert len(pairs) == 800
    assert set(pairs.plain) == set(packaged("suffixes"))
    assert len(pairs.personas) == 10
    assert 0.2 < sum(pairs.validation) / 800 < 0.3


def test_a_touchstone_brings_its_own_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    from gnomon import touchstones

    brought = {
        "toward": "x",
        "away": "y",
        "templates": ["speak as {} ."],
        "suffixes": ["the sky", "a cup", "my tea"],
    }
    monkeypatch.setattr(touchstones, "contrast", {"honesty": brought}.__getitem__)
    lm = WordLM(touchstone="honesty")
    assert set(Contrast("honest", "dishonest").resolve(lm).plain) == {"the sky", "a cup", "my tea"}
    mixed = Contrast("honest", "dishonest", suffixes=("up", "down")).resolve(lm)
    assert mixed.personas == (("speak as honest .", "speak as dishonest ."),)
    assert set(mixed.plain) == {"up", "down"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"toward": " "}, "toward word"),
        ({"away": ""}, "away word"),
        ({"away": False}, "quotes"),
        ({"away": " HONEST "}, "two different words"),
        ({"toward": "very  honest", "away": "Very Honest"}, "two different words"),
        ({"templates": ("You are honest.",)}, "0 places"),
        ({"templates": ()}, "no templates"),
        ({"templates": "Be {}."}, "list of texts"),
        ({"suffixes": ()}, "0 different suffixes"),
        ({"suffixes": ("same", "same ")}, "1 different suffixes"),
        ({"suffixes": ("one", " ")}, "empty"),
        ({"validation_share": 0}, "validation_share"),
        ({"validation_share": 1.0}, "validation_share"),
        ({"validation_share": float("nan")}, "validation_share"),
        ({"validation_share": "half"}, "validation_share"),
        ({"max_pairs": 1}, "max_pairs"),
        ({"max_pairs": 2.5}, "max_pairs"),
        ({"max_pairs": float("inf")}, "max_pairs"),
        ({"max_pairs": True}, "max_pairs"),
    ],
)
def test_what_cannot_work_is_refused_at_the_door(changes: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        small(**changes)


def test_near_duplicates_alone_cannot_be_split() -> None:
    with pytest.raises(UsageError, match="all alike"):
        small(suffixes=("so it goes", "So, it goes!")).resolve(WordLM())


def test_words_that_the_tokenizer_cannot_tell_apart_are_refused() -> None:
    known = frozenset(
        ["You", "are", "an", "a", "person", "Be", "now", "is", "here", "honest", "cruel"]
        + [suffix.split()[0] for suffix in SUFFIXES]
    )
    lm = WordLM(vocabulary=known)
    with pytest.raises(UsageError, match="does not know 'dishonest'"):
        small().resolve(lm)
    # without an unknown token of its own, a tokenizer may still give two words the same tokens
    lm.tokenizer = Tokenizer(unk_token_id=None)
    with pytest.raises(UsageError, match="cannot tell 'kind' and 'cross' apart"):
        small(toward="kind", away="cross").resolve(lm)
    assert len(small(toward="honest", away="cruel").resolve(lm)) == 16


def test_a_bos_that_is_also_the_unknown_token_is_no_unknown_word() -> None:
    assert len(small().resolve(WordLM(tokenizer=Tokenizer(unk_token_id=0, bos_token_id=0)))) == 16


def test_pairs_that_agree_in_context_are_refused() -> None:
    class OnlyTails(WordLM):
        def encode(self, prompts):  # keeps two words, so that a persona before the suffix is lost
            return [ids[:1] + ids[-2:] for ids in super().encode(prompts)]

    with pytest.raises(UsageError, match=r"cannot tell '(You are an|Be) honest (person|now)\.'"):
        small().resolve(OnlyTails())


def test_a_suffix_that_is_split_differently_behind_the_words_is_refused() -> None:
    class Merging(WordLM):
        def render(self, prompt):  # "honest number3" melts into one token, "dishonest number3" does not
            return re.sub(r"\bhonest (?=number)", "honest_", super().render(prompt))

    with pytest.raises(UsageError, match="splits the suffix"):
        small(templates=("Be {}",)).resolve(Merging())


def test_spans_may_have_different_token_counts() -> None:
    pairs = small(toward="honest", away="not at all honest").resolve(WordLM())
    assert len(pairs) == 16


DATA = {
    "toward": "kind",
    "away": "cruel",
    "templates": ["Be {}."],
    "suffixes": ["a", "b"],
    "validation_share": 0.5,
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.json", json.dumps(DATA)),
        (
            "c.yaml",
            "toward: kind\naway: cruel\ntemplates: ['Be {}.']\nsuffixes: [a, b]\nvalidation_share: 0.5\n",
        ),
        (
            "c.toml",
            'toward = "kind"\naway = "cruel"\ntemplates = ["Be {}."]\nsuffixes = ["a", "b"]\nvalidation_share = 0.5\n',
        ),
    ],
)
def test_a_contrast_comes_from_a_file(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    expected = Contrast("kind", "cruel", templates=("Be {}.",), suffixes=("a", "b"), validation_share=0.5)
    assert Contrast.from_file(tmp_path / name) == expected


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("c.toml", "toward = ", "not valid TOML"),
        ("c.json", "{", "not valid JSON"),
        ("c.yaml", "a: [", "not valid YAML"),
        ("c.yaml", "", "no table"),
        ("c.yaml", "toward: yes\naway: no\n", "toward word must be text"),
        ("c.json", '{"toward": "kind"}', "no key 'away'"),
        ("c.json", '{"toward": "kind", "away": "cruel", "template": []}', "unknown key 'template'"),
        ("c.txt", "", "must end in"),
        ("c.json", "[" * 100_000, "not valid JSON"),
    ],
)
def test_a_broken_file_is_refused_with_its_name(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=said) as caught:
        Contrast.from_file(tmp_path / name)
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nothing\.toml"):
        Contrast.from_file(tmp_path / "nothing.toml")


def test_the_room_opens_without_torch() -> None:
    code = "import gnomon.contrast, sys; gnomon.contrast.Contrast('a', 'b'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
