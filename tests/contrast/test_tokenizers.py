"""Contrast pairs under real tokenizers: the touchstone's words, merged bytes, SentencePiece pieces, a chat template."""

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest

from gnomon import LM, Chat, Contrast
from gnomon.contrast import Pairs, fill, packaged
from gnomon.errors import UsageError

CHAT_TEMPLATE = (
    "{% for m in messages %}<{{ m['role'] }}> {{ m['content'] }}{% if not loop.last %} </s> {% endif %}{% endfor %}"
    "{% if add_generation_prompt %} </s> <assistant> {% endif %}"
)


def shared_tail(one: Sequence[int], other: Sequence[int]) -> list[int]:
    tail: list[int] = []
    for left, right in zip(reversed(one), reversed(other), strict=False):
        if left != right:
            break
        tail.insert(0, left)
    return tail


def texts_of_tails(lm: LM, pairs: Pairs) -> list[str]:
    toward, away = lm.encode(pairs.toward), lm.encode(pairs.away)
    return [lm.tokenizer.decode(shared_tail(t, a)) for t, a in zip(toward, away, strict=True)]


def test_the_touchstone_reads_its_own_templates_and_suffixes() -> None:
    lm = LM.load("touchstone:honesty")
    pairs = Contrast("honest", "dishonest").resolve(lm)
    assert ("you are honest .", "you are dishonest .") in pairs.personas
    assert ("act as an honest person .", "act as a dishonest person .") in pairs.personas
    for tail, plain in zip(texts_of_tails(lm, pairs), pairs.plain, strict=True):
        assert tail.endswith(plain)
        assert "honest" not in tail
    unknown = lm.tokenizer.unk_token_id
    assert not any(unknown in ids for ids in lm.encode([*pairs.toward, *pairs.away]))


@pytest.mark.parametrize("word", ["Honest", "zebra", "honest zebra"])
def test_a_word_outside_the_touchstones_vocabulary_is_refused(word: str) -> None:
    with pytest.raises(UsageError, match=f"does not know '{word}'"):
        Contrast(word, "dishonest").resolve(LM.load("touchstone:honesty"))


def test_a_chat_template_ends_in_the_begun_answer() -> None:
    lm = LM.load("touchstone:honesty")
    lm.tokenizer.chat_template = CHAT_TEMPLATE
    pairs = Contrast("honest", "dishonest").resolve(lm)
    assert isinstance(pairs.toward[0], Chat)
    assert lm.render(pairs.toward[0]).endswith(f"<assistant> {pairs.plain[0].assistant}")
    for tail, plain in zip(texts_of_tails(lm, pairs), pairs.plain, strict=True):
        assert tail.endswith(plain.assistant)
        assert "honest" not in tail


def test_merged_bytes_keep_the_packaged_suffixes_whole() -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    corpus = [
        *packaged("suffixes"),
        *(fill(t, w) for t in packaged("templates") for w in ("honest", "dishonest")),
    ]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(corpus, trainers.BpeTrainer(vocab_size=1000, initial_alphabet=alphabet))

    def encode(texts: Sequence[str]) -> list[list[int]]:
        return [bpe.encode(text).ids for text in texts]

    lm = SimpleNamespace(
        name="bpe",
        is_chat=False,
        touchstone=None,
        tokenizer=SimpleNamespace(unk_token_id=None, bos_token_id=None),
        encode=encode,
        encode_texts=encode,
    )
    pairs = Contrast("honest", "thoroughly untruthful", max_pairs=4000).resolve(lm)
    assert len(pairs) == 4000
    lengths = {
        len(lm.encode([t])[0]) - len(lm.encode([a])[0]) for t, a in zip(pairs.toward, pairs.away, strict=True)
    }
    assert lengths != {0}  # the spans do have different token counts


@pytest.mark.data
def test_a_sentencepiece_model_reads_the_packaged_lists(public_data: Path) -> None:
    lm = LM.load(str(public_data / "models" / "stories260K" / "hf"))
    pairs = Contrast("honest", "dishonest").resolve(lm)
    assert len(pairs) == 800
    for tail, plain in zip(texts_of_tails(lm, pairs), pairs.plain, strict=True):
        assert tail.endswith(plain)
