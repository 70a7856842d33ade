"""Generation, streaming and neutral text."""

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.lm.generation import small_talk


def saying(lm: LM, monkeypatch, tokens: list[int], then: int) -> None:
    """Make the model say these tokens in turn, whatever it is asked, and then one token for ever."""
    inner = lm.model.forward
    said: dict[str, int] = {"step": 0}

    def forward(input_ids, **arguments):
        output = inner(input_ids=input_ids, **arguments)
        said["step"] = 0 if input_ids.shape[1] > 1 else said["step"] + 1
        wanted = tokens[said["step"]] if said["step"] < len(tokens) else then
        output.logits[:, -1] = (
            torch.nn.functional.one_hot(torch.tensor(wanted), output.logits.shape[-1]) * 30.0
        )
        return output

    monkeypatch.setattr(lm.model, "forward", forward)


def test_one_prompt_gives_a_str_and_a_list_gives_a_list(lm: LM) -> None:
    assert isinstance(lm.generate("the cat", max_new_tokens=2), str)
    assert lm.generate(["the cat"], max_new_tokens=2) == [lm.generate("the cat", max_new_tokens=2)]
    assert lm.generate([], max_new_tokens=2) == []


def test_it_stops_at_the_end_token_and_leaves_the_prompt_out(lm: LM, monkeypatch) -> None:
    words = lm.tokenizer("yes maybe", add_special_tokens=False)["input_ids"]
    saying(lm, monkeypatch, words, then=lm.tokenizer.eos_token_id)
    assert lm.generate("the cat") == "yes maybe"
    assert "".join(lm.stream("the cat")) == "yes maybe"


def test_every_end_token_of_the_generation_config_counts(lm: LM, monkeypatch) -> None:
    lm.model.generation_config.eos_token_id = [2, 7]
    saying(lm, monkeypatch, [10], then=7)
    assert lm.end_tokens == {2, 7}
    assert lm.generate("the cat") == lm.tokenizer.decode([10])


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_batch_says_what_its_rows_say(lm: LM, helpers, monkeypatch, temperature: float) -> None:
    whole = lm.generate(helpers.prompts, max_new_tokens=10, temperature=temperature, seed=3)
    monkeypatch.setattr(lm, "tokens_per_batch", 1)
    assert whole == lm.generate(helpers.prompts, max_new_tokens=10, temperature=temperature, seed=3)


def test_continuations_are_the_tokens_of_the_text_without_the_end(lm: LM, helpers, monkeypatch) -> None:
    wishes = {"max_new_tokens": 10, "temperature": 1.0, "seed": 3}
    rows = lm.continuations(helpers.prompts, **wishes)
    assert lm.generate(helpers.prompts, **wishes) == [
        lm.tokenizer.decode(row, skip_special_tokens=True) for row in rows
    ]
    assert lm.continuations(helpers.prompts, max_new_tokens=10, seed=3) == rows  # 1 is the temperature
    assert lm.continuations(helpers.prompts, max_new_tokens=10, seed=4) != rows
    words = lm.tokenizer("yes maybe", add_special_tokens=False)["input_ids"]
    saying(lm, monkeypatch, words, then=lm.tokenizer.eos_token_id)
    assert lm.continuations(["the cat"], max_new_tokens=10) == [words]


def test_a_prompt_and_its_continuation_are_one_sequence(lm: LM, helpers) -> None:
    """The likeliest continuation: each token is the likeliest after the prompt's ids and those before it."""
    (ids,) = lm.encode(helpers.prompts[:1])
    (said,) = lm.continuations(helpers.prompts[:1], max_new_tokens=6, temperature=0)
    with torch.no_grad():
        best = lm.model(torch.tensor([[*ids, *said]])).logits[0].argmax(-1).tolist()
    assert best[len(ids) - 1 : -1] == said
    with pytest.raises(UsageError, match="max_new_tokens"):
        lm.continuations(["the cat"], max_new_tokens=0)


def test_the_seed_decides(lm: LM) -> None:
    texts = [lm.generate("the cat", temperature=1.0, seed=seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_sampling_follows_the_distribution(lm: LM) -> None:
    """First tokens of 2,000 samples against the model's own probabilities: a chi-squared statistic."""
    ids = lm.encode(["the cat"])[0]
    with torch.no_grad():
        expected = lm.model(torch.tensor([ids])).logits[0, -1].double().softmax(-1).numpy()
    monkey = lm.generate(["the cat"] * 2000, max_new_tokens=1, temperature=1.0)
    words = [lm.tokenizer.decode([token], skip_special_tokens=True) for token in range(lm.vocabulary)]
    counts = np.array([monkey.count(word) for word in words[3:]])
    likely = expected[3:]
    statistic = ((counts - 2000 * likely) ** 2 / (2000 * likely)).sum()
    assert statistic < len(likely) + 5 * np.sqrt(2 * len(likely))


def test_it_ends_with_the_context(lm: LM, monkeypatch) -> None:
    saying(lm, monkeypatch, [], then=10)
    text = lm.generate("the " * 250, max_new_tokens=50)
    assert len(text.split()) == 256 - 251 + 1


@pytest.mark.parametrize(
    "wrong", [{"max_new_tokens": 0}, {"temperature": -1.0}, {"temperature": float("nan")}, {"seed": -1}]
)
def test_impossible_wishes_are_refused(lm: LM, wrong) -> None:
    with pytest.raises(UsageError):
        lm.generate("the cat", **wrong)
    with pytest.raises(UsageError):
        lm.stream("the cat", **wrong)


def test_a_stream_is_the_generated_text(lm: LM, helpers) -> None:
    with lm.edited([helpers.add_vector(lm)], 1.0):
        pieces = list(lm.stream("the cat", max_new_tokens=8, temperature=0.7))
        assert "".join(pieces) == lm.generate("the cat", max_new_tokens=8, temperature=0.7)
        assert len(pieces) > 1


def test_a_stream_that_leaves_its_edits_is_an_error(lm: LM, helpers) -> None:
    with lm.edited([helpers.add_vector(lm)], 1.0):
        stream = lm.stream("the cat", max_new_tokens=8)
        next(stream)
    with pytest.raises(UsageError, match="inside the with block"):
        list(stream)
    with lm.edited([helpers.add_vector(lm)], 1.0):
        unread = lm.stream("the cat", max_new_tokens=8)
    with pytest.raises(UsageError, match="inside the with block"):
        list(unread)


def test_a_stream_never_breaks_a_character(monkeypatch) -> None:
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    bpe = Tokenizer(models.BPE({token: i for i, token in enumerate(["</s>", *letters])}, []))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, eos_token="</s>")
    config = LlamaConfig(
        hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=257
    )
    lm = LM(LlamaForCausalLM(config), tokenizer)
    text = "naïve – 日本 🙂!"
    saying(lm, monkeypatch, tokenizer(text)["input_ids"], then=0)
    pieces = list(lm.stream("hi"))
    assert "".join(pieces) == text == lm.generate("hi")
    assert "\ufffd" not in "".join(pieces)
    assert pieces == list(text)


def test_neutral_text_begins_at_bos(lm: LM) -> None:
    samples = lm.sample_neutral(6, max_tokens=12)
    assert samples == lm.sample_neutral(6, max_tokens=12) != lm.sample_neutral(6, max_tokens=12, seed=1)
    assert len({sample.tokens for sample in samples}) == 6
    assert all(sample.prompt == "" and 8 <= len(sample.tokens) <= 12 for sample in samples)
    assert not any(lm.end_tokens & set(sample.tokens) for sample in samples)


def test_neutral_text_goes_on_for_eight_tokens_and_ends_at_eos(lm: LM, monkeypatch) -> None:
    saying(lm, monkeypatch, [], then=lm.tokenizer.eos_token_id)
    assert [len(sample.tokens) for sample in lm.sample_neutral(3, max_tokens=20)] == [8, 8, 8]
    assert [len(sample.tokens) for sample in lm.sample_neutral(3, max_tokens=5)] == [5, 5, 5]


def test_neutral_text_of_a_chat_model_answers_small_talk(lm: LM) -> None:
    lm.tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }} {% endfor %}"
    samples = lm.sample_neutral(3, max_tokens=9)
    assert [sample.prompt for sample in samples] == small_talk()[:3]


def test_neutral_text_without_bos_and_eos_needs_a_line(helpers) -> None:
    lm = LM(helpers.build_model("llama"), helpers.build_tokenizer(bos_token=None, eos_token=None))
    assert lm.sample_neutral(1, max_tokens=8)[0].prompt == small_talk()[0]
    lm = LM(helpers.build_model("llama"), helpers.build_tokenizer(bos_token=None))
    assert lm.encode([lm.sample_neutral(1, max_tokens=8)[0].prompt]) == [[2]]


def test_small_talk_lines_differ() -> None:
    assert len(small_talk()) == len(set(small_talk())) == 64
    assert all(line.strip() == line != "" for line in small_talk())


def test_next_log_probs_equal_the_reference(lm: LM, helpers, monkeypatch) -> None:
    samples = lm.sample_neutral(7, max_tokens=14, seed=2)
    monkeypatch.setattr(lm, "logits_per_batch", 30 * lm.vocabulary)
    batches = lm.sample_batches(samples)
    assert sorted(len(batch) for batch in batches) != [7]
    assert sorted(s.tokens for batch in batches for s in batch) == sorted(s.tokens for s in samples)
    edit, text = helpers.add_vector(lm), helpers.prefix("be kind", "you")
    for batch in batches:
        base, mask = lm.next_log_probs(batch)
        with lm.edited([edit, text], 1):
            steered, same = lm.next_log_probs(batch)
        assert mask.equal(same)
        assert mask.sum(1).tolist() == [len(sample.tokens) for sample in batch]
        for row, sample in enumerate(batch):
            n = len(sample.tokens)
            expected = helpers.reference(lm, [1, *sample.tokens])[0].log_softmax(-1)[-n:]
            helpers.assert_close(base[row, mask[row]], expected)
            behind = [*lm.encode(["be kind"])[0], *sample.tokens]
            expected = helpers.reference(lm, behind, [(edit, 1.0)])[0].log_softmax(-1)[-n:]
            helpers.assert_close(steered[row, mask[row]], expected)
