"""What is packaged beside the weights."""

from __future__ import annotations

from collections import Counter

from gnomon.worlds import honesty, latents, package
from gnomon.worlds import lexicon as words
from gnomon.worlds.training import make_tokenizer

DILEMMAS = package.dilemma_questions(package.DILEMMAS)


def test_every_dilemma_is_asked_in_both_polarities() -> None:
    labels = Counter((row["cluster"], row["label"]) for row in DILEMMAS)
    assert len(labels) == 2 * package.DILEMMAS
    assert set(labels.values()) == {1}


def test_labels_follow_the_deed() -> None:
    for row in DILEMMAS:
        deed = row["prompt"].split(" . ")[1].split()[2]
        honest = {d.split()[0]: is_honest for d, is_honest in words.DEEDS.items()}[deed]
        assert row["label"] == (1 if honest else -1)


def test_controls_have_no_label_and_no_persona_word() -> None:
    rows = package.control_questions()
    assert len(rows) == 2 * package.CONTROLS_PER_SET
    assert all(row["label"] is None and row["kind"] == "control" for row in rows)
    assert not {word for row in rows for word in row["prompt"].split()} & set(honesty.persona_words())


def test_suffixes_hold_no_dilemma_question_no_answer_and_nothing_that_is_scored() -> None:
    suffixes = package.suffixes()
    scored = {row["prompt"] for row in [*DILEMMAS, *package.control_questions()]}
    contexts = {row["prompt"].split(" . ")[0] + " ." for row in DILEMMAS}
    deeds = {deed.split()[0] for deed in words.DEEDS}
    assert 130 <= len(suffixes) == len(set(suffixes))
    assert not set(suffixes) & (scored | contexts)
    for suffix in suffixes:
        assert not set(suffix.split()) & (deeds | {"yes"})
        assert suffix.split()[-1] in {".", "?"}


def test_situations_come_from_training_combinations() -> None:
    training = {combination.text for combination in latents.split()[0]}
    situations = [suffix for suffix in package.suffixes() if suffix in training]
    assert len(situations) == package.SITUATIONS


def test_tokenizer_is_one_token_per_word() -> None:
    tokenizer = make_tokenizer()
    text = "you broke the vase of your mother . do you tell your mother ?"
    encoded = tokenizer.encode(text)
    assert encoded.tokens == ["<s>", *text.split()]
    assert tokenizer.decode(encoded.ids) == text
    assert tokenizer.encode("a gnomon").tokens == ["<s>", "a", "<unk>"]
