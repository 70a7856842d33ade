"""One BOS and no more, chat templates of all kinds, begun answers, and prefixes."""

import pytest

from gnomon.errors import UsageError
from gnomon.lm import LM, Chat
from gnomon.lm.prompts import encode_texts, render

TURNS = (
    "{% for m in messages %}{{ m['role'] }} : {{ m['content'] }} </s> {% endfor %}"
    "{% if add_generation_prompt %}assistant : {% endif %}"
)
WITH_BOS = "{{ bos_token }} " + TURNS
NO_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    + WITH_BOS
)
DROPS_SYSTEM = TURNS.replace(
    "{{ m['role'] }}", "{% if m['role'] == 'system' %}{% continue %}{% endif %}{{ m['role'] }}"
)
THINKS = TURNS + "{% if enable_thinking is defined and not enable_thinking %}no thinking {% endif %}"


@pytest.fixture
def chatting(helpers):
    def build(template: str, **arguments) -> LM:
        tokenizer = helpers.build_tokenizer()
        tokenizer.chat_template = template
        return LM(helpers.build_model("llama"), tokenizer, chat_template_kwargs=arguments)

    return build


def test_a_base_model_joins_the_parts_by_one_space(lm: LM, helpers) -> None:
    assert not lm.is_chat
    assert lm.render("the cat") == "the cat"
    assert lm.render(Chat("the cat", system="be kind", assistant="it sat")) == "be kind the cat it sat"
    assert lm.render(Chat("the cat", system="")) == "the cat"
    with lm.edited([helpers.prefix("be kind", "the hill")], -1):
        assert lm.render(Chat("the cat", system="you")) == "the hill you the cat"
        assert lm.render("") == "the hill"


@pytest.mark.parametrize("template", [TURNS, WITH_BOS])
def test_exactly_one_bos(chatting, lm: LM, template: str) -> None:
    for opened in (lm, chatting(template)):
        for prompt in ("the cat", Chat("a", system="b", assistant="the"), "<s> the cat", "<s> <s> the cat"):
            assert opened.encode([prompt])[0].count(1) == 1 or "<s>" in str(prompt)
            assert opened.encode([prompt])[0][0] == 1
            assert opened.encode([prompt])[0][1] != 1


def test_no_bos_where_the_tokenizer_has_none(helpers) -> None:
    tokenizer = helpers.build_tokenizer(bos_token=None)
    assert encode_texts(tokenizer, ["the cat", ""]) == [[3, 5], [2]]
    with pytest.raises(UsageError, match="empty"):
        encode_texts(helpers.build_tokenizer(bos_token=None, eos_token=None), [""])


def test_turns_and_begun_answers(chatting) -> None:
    lm = chatting(WITH_BOS)
    assert lm.is_chat
    assert lm.render("the cat") == "<s> user : the cat </s> assistant : "
    assert lm.render(Chat("a", system="b")) == "<s> system : b </s> user : a </s> assistant : "
    assert lm.render(Chat("a", assistant="I am")) == "<s> user : a </s> assistant : I am"


@pytest.mark.parametrize("template", [NO_SYSTEM, DROPS_SYSTEM])
def test_a_template_without_a_system_turn_gets_it_in_the_user_turn(chatting, template: str) -> None:
    lm = chatting(template)
    assert "user : be kind\n\nthe cat </s>" in lm.render(Chat("the cat", system="be kind"))
    assert "user : be kind\n\nthe cat </s> assistant : I" in lm.render(
        Chat("the cat", system="be kind", assistant="I")
    )


def test_a_prefix_opens_the_user_turn(chatting, helpers) -> None:
    lm = chatting(TURNS)
    with lm.edited([helpers.prefix("be kind", "be")], [1, -1, 0]):
        texts = lm.texts(["a cat", Chat("a cat", system="you"), "a cat"])
    assert texts == [
        "user : be kind\n\na cat </s> assistant : ",
        "system : you </s> user : be\n\na cat </s> assistant : ",
        "user : a cat </s> assistant : ",
    ]


def test_template_arguments_pass_through(chatting) -> None:
    assert chatting(THINKS, enable_thinking=False).render("a").endswith("assistant : no thinking ")
    assert chatting(THINKS).render("a").endswith("assistant : ")


def test_a_template_that_refuses_is_a_usage_error(chatting) -> None:
    with pytest.raises(UsageError, match="refuses this chat: never"):
        chatting("{{ raise_exception('never') }}").render(Chat("a", system="b"))


def test_the_tokenizers_padding_is_neither_used_nor_changed(lm: LM, helpers) -> None:
    assert lm.tokenizer.pad_token is None
    lm.tokenizer.padding_side = "left"
    left = lm.residuals(helpers.prompts)
    lm.tokenizer.padding_side = "right"
    right = lm.residuals(helpers.prompts)
    assert left.equal(right)
    assert lm.tokenizer.pad_token is None


def test_a_prompt_beyond_the_context_is_refused(lm: LM) -> None:
    with pytest.raises(UsageError, match="has 301 tokens, but the model's context is 256"):
        lm.encode(["the " * 300])


def test_one_prompt_for_a_list_is_refused(lm: LM) -> None:
    with pytest.raises(UsageError, match="brackets"):
        lm.residuals("the cat")


def test_render_knows_nothing_of_a_model(helpers) -> None:
    assert render(helpers.build_tokenizer(), "a", prefix="b", template_arguments={}) == "b a"
