"""Answer probabilities: spellings in context, overlaps, refusals, several coefficients at once."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from gnomon.errors import UsageError
from gnomon.lm import LM, Chat
from gnomon.lm.answers import in_tokens, refusal_openings

YES_NO = {"yes": ["yes"], "no": ["no"]}


class Dial:
    def __init__(self, edits, first_token=False) -> None:
        self.edits, self.first_token = edits, first_token


def probability(lm: LM, helpers, prompt: str, words: str, edits=()) -> float:
    ids = lm.encode([prompt])[0]
    own = lm.tokenizer(words, add_special_tokens=False)["input_ids"]
    steps = helpers.reference(lm, [*ids, *own], edits)[0].double().log_softmax(-1)[len(ids) - 1 : -1]
    return float(steps[range(len(own)), own].sum().exp())


def test_the_record(lm: LM, helpers) -> None:
    found = lm.answers(helpers.prompts, YES_NO)
    assert found.log_prob.shape == (7, 2)
    assert np.array_equal(found.log_odds, found.log_prob[:, 0] - found.log_prob[:, 1])
    assert np.allclose(found.choice_mass, np.exp(found.log_prob).sum(1))
    expected = probability(lm, helpers, helpers.prompts[2], "yes")
    assert found.log_prob[2, 0] == pytest.approx(math.log(expected), abs=1e-5)


def test_spellings_count_once_and_longer_ones_are_covered(lm: LM, helpers) -> None:
    plain = lm.answers(helpers.prompts, {"a": ["New", "yes"], "b": ["no"]})
    doubled = lm.answers(
        helpers.prompts, {"a": ["New", " New ", "New York", "New York City", "yes"], "b": ["no"]}
    )
    assert np.allclose(plain.log_prob, doubled.log_prob)
    one, other = (probability(lm, helpers, helpers.prompts[0], word) for word in ("New", "yes"))
    assert math.exp(plain.log_prob[0, 0]) == pytest.approx(one + other, rel=1e-4)


@pytest.mark.parametrize("other", ["yes", " yes", "yes maybe"])
def test_a_spelling_that_begins_another_classes_is_refused(lm: LM, other: str) -> None:
    with pytest.raises(UsageError, match=r"'yes' of 'first' and 'yes.*' of 'second'"):
        lm.answers(["the cat"], {"first": ["yes"], "second": [other]})


@pytest.mark.parametrize(
    "classes",
    [{"yes": ["yes"]}, {"a": ["yes"], "b": []}, {"a": "yes", "b": ["no"]}, {"a": [" "], "b": ["no"]}],
)
def test_malformed_classes_are_refused(lm: LM, classes) -> None:
    with pytest.raises(UsageError, match="class"):
        lm.answers(["the cat"], classes)


def test_a_wrong_number_of_class_sets_is_refused(lm: LM) -> None:
    with pytest.raises(UsageError, match="2 sets of answer classes were given for 1 prompts"):
        lm.answers(["the cat"], [YES_NO, YES_NO])


def test_a_very_unlikely_answer_is_still_computed(lm: LM, helpers) -> None:
    with torch.no_grad():
        lm.model.lm_head.weight *= 40
    found = lm.answers(helpers.prompts, {"a": ["New York City"], "b": ["no maybe"]})
    rarest = int(found.log_prob[:, 0].argmin())
    assert found.log_prob[rarest, 0] < -40
    expected = probability(lm, helpers, helpers.prompts[rarest], "New York City")
    assert found.log_prob[rarest, 0] == pytest.approx(math.log(expected), rel=1e-4)


def test_classes_per_prompt(lm: LM, helpers) -> None:
    other = {"a": ["cat"], "b": ["the dog"]}
    together = lm.answers(helpers.prompts[:2], [YES_NO, other])
    apart = [lm.answers([prompt], c) for prompt, c in zip(helpers.prompts, [YES_NO, other], strict=False)]
    assert np.allclose(together.log_prob, np.concatenate([one.log_prob for one in apart]), atol=1e-5)


def test_batches_and_halves_agree(lm: LM, helpers, monkeypatch) -> None:
    classes = {"a": ["New York City", "New Yard"], "b": ["the cat sat", "a"]}
    whole = lm.answers(helpers.prompts, classes)
    monkeypatch.setattr(lm, "tokens_per_batch", 1)
    one_by_one = lm.answers(helpers.prompts, classes)
    assert np.allclose(whole.log_prob, one_by_one.log_prob, atol=1e-5)
    assert np.allclose(whole.refusal_mass, one_by_one.refusal_mass, atol=1e-7)


def test_several_coefficients_in_one_pass(lm: LM, helpers) -> None:
    dial = Dial([helpers.add_vector(lm), helpers.low_rank(lm, block=1)], first_token=True)
    alphas = [-1.0, 0.0, 0.5]
    classes = {"a": ["New York City"], "b": ["yes"]}
    found = lm.answers_at(helpers.prompts, classes, dial, alphas)
    for alpha, together in zip(alphas, found, strict=True):
        with lm.steer(dial, alpha):
            alone = lm.answers(helpers.prompts, classes)
        assert np.allclose(together.log_prob, alone.log_prob, atol=1e-5)
    assert not np.allclose(found[0].log_prob, found[2].log_prob, atol=1e-2)


def test_prefixes_differ_by_coefficient(lm: LM, helpers) -> None:
    found = lm.answers_at(["the cat"], YES_NO, Dial([helpers.prefix("be kind", "you")]), [1, 0, -1])
    for one, text in zip(found, ["be kind the cat", "the cat", "you the cat"], strict=True):
        assert np.allclose(one.log_prob, lm.answers([text], YES_NO).log_prob, atol=1e-5)


def test_refusals_are_sequences_that_the_vocabulary_can_write(lm: LM, helpers) -> None:
    assert refusal_openings(lm) == ["i can not do that", "I can not do that"]
    found = lm.answers(helpers.prompts[:1], YES_NO).refusal_mass[0]
    openings = [probability(lm, helpers, helpers.prompts[0], f"{i} can not do that") for i in ("i", "I")]
    # Beginnings below 1e-6 are not followed.
    assert found == pytest.approx(sum(openings), abs=2e-6)


def test_a_likely_refusal_is_measured(lm: LM, helpers, monkeypatch) -> None:
    """A head that says the refusal's next word with near certainty."""
    words = lm.tokenizer("I can not do that", add_special_tokens=False)["input_ids"]
    follows = dict(pairwise(words))
    inner = lm.model.forward

    def forward(input_ids, **arguments):
        output = inner(input_ids=input_ids, **arguments)
        for row, token in enumerate(input_ids[:, -1].tolist()):
            output.logits[row, -1] = 0.0
            output.logits[row, -1, follows.get(token, words[0])] = 12.0
        return output

    monkeypatch.setattr(lm.model, "forward", forward)
    assert lm.answers(["the cat"], YES_NO).refusal_mass[0] > 0.99


@pytest.mark.parametrize("openings", [[], ["do not"]])
def test_without_a_refusal_of_three_tokens_nothing_is_measured(lm: LM, monkeypatch, openings) -> None:
    from gnomon.lm import answers

    monkeypatch.setattr(answers, "refusal_openings", lambda lm: openings)
    assert math.isnan(lm.answers(["the cat"], YES_NO).refusal_mass[0])


# -- spellings in the context of a byte-level tokenizer ---------------------------------------------------------------


@pytest.fixture
def byte_lm(helpers) -> LM:
    """A byte-level BPE, with " yes" and "no" as tokens of their own, and "yes" without a space as three."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("Ġ", "y"), ("Ġy", "e"), ("Ġye", "s"), ("Ġ", "n"), ("Ġn", "o"), ("Ċ", "n"), ("n", "o")]
    vocabulary = {token: i for i, token in enumerate(["<s>", "</s>", *letters, *(a + b for a, b in merges)])}
    bpe = Tokenizer(models.BPE(vocabulary, merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    bpe.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=bpe, bos_token="<s>", eos_token="</s>")
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        vocab_size=len(vocabulary),
    )
    torch.manual_seed(0)
    return LM(LlamaForCausalLM(config), tokenizer)


def spellings(lm: LM, prompt, classes) -> list[list[str]]:
    (asked,) = in_tokens(lm, [prompt], [classes])
    decoded = [[[lm.tokenizer.convert_ids_to_tokens(t) for t in s] for s in group] for group in asked.classes]
    return [["|".join(tokens) for tokens in group] for group in decoded]


def test_a_space_is_put_where_the_prompt_has_none(byte_lm: LM) -> None:
    assert spellings(byte_lm, "so?", YES_NO) == [["Ġyes"], ["Ġno"]]
    assert spellings(byte_lm, "so?\n", {"a": ["yes"], "b": ["oh"]}) == [["y|e|s"], ["o|h"]]


def test_a_merge_over_the_boundary_is_tried_behind_a_space(byte_lm: LM) -> None:
    # "\n" + "no" would merge into another token, which the prompt's own tokens do not contain.
    assert spellings(byte_lm, "so?\n", YES_NO) == [["y|e|s"], ["Ġno"]]
    # The prompt's own space would be merged into " yes": a further one is left alone.
    assert spellings(byte_lm, "so? ", {"a": ["yes"], "b": ["oh"]})[0] == ["Ġyes"]


def test_a_begun_turn_of_the_models_own_needs_no_space(byte_lm: LM) -> None:
    byte_lm.tokenizer.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}]{{ m['content'] }}{% endfor %}"
        "{% if add_generation_prompt %}[assistant]{% endif %}"
    )
    assert spellings(byte_lm, "so?", YES_NO) == [["y|e|s"], ["no"]]
    assert spellings(byte_lm, Chat("so?", assistant="I say:"), YES_NO) == [["Ġyes"], ["Ġno"]]


def test_refusal_mass_alone_is_that_of_the_answers(tiny_lm) -> None:
    import numpy as np

    prompts = ["do you like tea ?", "the sky is blue . is it ?"]
    beside = tiny_lm.answers(prompts, {"yes": ["yes"], "no": ["no"]}).refusal_mass
    alone = tiny_lm.refusal_mass(prompts)
    assert alone == np.array(beside) if alone.shape == () else np.allclose(alone, beside, equal_nan=True)
