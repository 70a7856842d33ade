"""The texts of a training and the states that the personas cause: against the model run row by row."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.contrast import Contrast, Pairs
from gnomon.lm import LM
from gnomon.training.texts import PersonaStates, Text, persona_states, texts_of

FEW = settings(max_examples=40, deadline=None, derandomize=True)
LIMITS = {"continued": 2, "max_new_tokens": 5, "seed": 0, "most": 1000}


@pytest.fixture(scope="module")
def pairs(tiny_lm: LM, tiny_contrast: Contrast) -> Pairs:
    return tiny_contrast.resolve(tiny_lm)


@pytest.fixture(scope="module")
def texts(tiny_lm: LM, pairs: Pairs) -> list[Text]:
    return texts_of(tiny_lm, pairs, **LIMITS)


def rows_of(text: Text) -> list[list[int]]:
    return [text.plain, *text.toward, *text.away]


def test_the_last_tokens_of_all_rows_are_the_same_and_the_one_before_is_not(texts: list[Text]) -> None:
    for text in texts:
        rows = rows_of(text)
        tails = {tuple(row[-text.tail :]) for row in rows}
        assert len(tails) == 1
        assert text.tail < min(map(len, rows))
        before = {row[-text.tail - 1] for row in rows}
        assert len(before) > 1


def test_a_bare_text_is_its_pairs_prompts_and_its_tail_is_the_suffix(
    tiny_lm: LM, pairs: Pairs, texts: list[Text]
) -> None:
    for suffix in sorted(set(pairs.suffix)):
        text = next(text for text in texts if text.suffix == suffix)
        places = [place for place, own in enumerate(pairs.suffix) if own == suffix]
        for side in ("toward", "away"):
            assert getattr(text, side) == tiny_lm.encode([getattr(pairs, side)[place] for place in places])
        assert [text.plain] == tiny_lm.encode([pairs.plain[places[0]]])
        assert text.tail == len(text.plain) - 1  # all but BOS
        assert {text.validation} == {pairs.validation[place] for place in places}


def test_a_continued_text_is_the_bare_one_and_what_the_model_said_without_a_persona(
    tiny_lm: LM, pairs: Pairs, texts: list[Text]
) -> None:
    bare = {text.suffix: text for text in texts[: len(set(pairs.suffix))]}
    firsts = {suffix: pairs.suffix.index(suffix) for suffix in bare}
    said = [
        tiny_lm.continuations([pairs.plain[first] for first in firsts.values()], max_new_tokens=5, seed=draw)
        for draw in range(2)
    ]
    for place, suffix in enumerate(firsts):
        wanted = list(dict.fromkeys(tuple(draw[place]) for draw in said if draw[place]))
        found = [text for text in texts if text.suffix == suffix][1:]
        assert [tuple(text.plain[len(bare[suffix].plain) :]) for text in found] == wanted
        for text in found:
            added = text.plain[len(bare[suffix].plain) :]
            before = rows_of(bare[suffix])
            assert rows_of(text) == [[*row, *added] for row in before]
            assert text.tail == bare[suffix].tail + len(added)
            assert text.validation == bare[suffix].validation
    assert len(texts) > len(bare) + 5


def test_the_same_seed_says_the_same_and_another_something_else(tiny_lm: LM, pairs: Pairs, texts) -> None:
    def plain(**changed) -> list[list[int]]:
        return [text.plain for text in texts_of(tiny_lm, pairs, **{**LIMITS, **changed})]

    assert plain() == [text.plain for text in texts]
    assert plain(seed=1) != plain()
    assert plain(seed=1)[: len(set(pairs.suffix))] == plain()[: len(set(pairs.suffix))]


def test_the_bare_suffixes_come_first_and_no_more_than_asked_for(tiny_lm: LM, pairs: Pairs, texts) -> None:
    for most in (3, 12, 15):
        few = texts_of(tiny_lm, pairs, **{**LIMITS, "most": most})
        assert [text.plain for text in few] == [text.plain for text in texts[:most]]
    assert sorted({text.suffix for text in texts[:12]}) == list(range(12))


def test_no_row_is_longer_than_the_context(tiny_lm: LM, pairs: Pairs) -> None:
    config = copy.deepcopy(tiny_lm.model.config)
    longest = max(map(len, tiny_lm.encode([*pairs.toward, *pairs.away])))
    config.max_position_embeddings = longest + 2
    small = LM(type(tiny_lm.model)(config), tiny_lm.tokenizer, name="small")
    found = texts_of(small, pairs, **{**LIMITS, "max_new_tokens": 30})
    lengths = [len(row) for text in found for row in rows_of(text)]
    assert max(lengths) == longest + 2
    for text in found:
        assert {len(row) - len(text.plain) for row in text.toward} <= {4, 6}  # the templates' own lengths


def test_a_suffix_that_the_tokenizer_joins_with_what_stands_before_it_is_left_out(tiny_lm: LM) -> None:
    def tokens(prompt: str) -> list[int]:
        # One token for a suffix of one word where it begins the text, another one behind a persona.
        return [90] if prompt == "hello" else tiny_lm.encode([prompt])[0][1:]

    class Joined:
        context = None

        def encode(self, prompts: list[str]) -> list[list[int]]:
            return [tokens(prompt) for prompt in prompts]

    pairs = Pairs(
        toward=("you are honest . hello", "you are honest . the sky is blue ."),
        away=("you are dishonest . hello", "you are dishonest . the sky is blue ."),
        plain=("hello", "the sky is blue ."),
        template=(0, 0),
        suffix=(0, 1),
        validation=(False, True),
        personas=(("you are honest .", "you are dishonest ."),),
        words=("honest", "dishonest"),
    )
    (text,) = texts_of(Joined(), pairs, **{**LIMITS, "continued": 0})
    assert (text.suffix, text.tail) == (1, 4)  # without BOS the first token is a beginning, not a shared one


@FEW
@given(
    tail=st.lists(st.integers(0, 3), max_size=6),
    fronts=st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_tails_are_common_and_as_long_as_they_can_be(tail, fronts) -> None:
    from gnomon.training.texts import _text

    rows = [[*front, *tail] for front in fronts]
    text = _text(rows[0], rows[1:] or [rows[0]], [rows[0]], 0, False)
    assert text.tail >= len(tail)
    assert len({tuple(row[len(row) - text.tail :]) for row in rows}) == 1
    assert text.tail < min(map(len, rows))
    if text.tail < min(map(len, rows)) - 1:
        assert len({row[-text.tail - 1] for row in rows}) > 1


# -- states ------------------------------------------------------------------------------------------------------------


def alone(lm: LM, row: list[int], block: int) -> torch.Tensor:
    """A block's output of one sequence alone: `[position, d_model]`."""
    seen: list[torch.Tensor] = []
    handle = lm.blocks[block].register_forward_hook(
        lambda module, args, output: seen.append(output if isinstance(output, torch.Tensor) else output[0])
    )
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([row]))
    handle.remove()
    return seen[0][0]


@pytest.mark.parametrize("budget", [2048, 40])
def test_targets_are_plain_means_over_the_templates(tiny_lm: LM, texts, monkeypatch, budget: int) -> None:
    monkeypatch.setattr(tiny_lm, "tokens_per_batch", budget)
    blocks = (2, 0)
    done: list[tuple[int, int]] = []
    states = persona_states(tiny_lm, texts, blocks, progress=lambda *counts: done.append(counts))
    assert done[-1][0] == done[-1][1] == sum(len(rows_of(text)) for text in texts)
    for index in range(0, len(texts), 3):
        text = texts[index]
        sides = {"toward": text.toward, "away": text.away, "plain": [text.plain]}
        for side, rows in sides.items():
            found = getattr(states, side)[index]
            assert found.shape == (2, text.tail, tiny_lm.d_model)
            for place, block in enumerate(blocks):
                wanted = torch.stack([alone(tiny_lm, row, block)[-text.tail :] for row in rows]).mean(0)
                torch.testing.assert_close(found[place], wanted, atol=1e-5, rtol=1e-4)


def test_how_long_the_away_shift_is_beside_the_toward_shift() -> None:
    plain = [torch.ones(2, 2, 3), torch.ones(2, 1, 3)]
    toward = [state + 1 for state in plain]
    away = [state - 3 for state in plain]
    away[1] = plain[1].clone()  # 2 of 3 positions move: the root mean square, not the mean
    states = PersonaStates(toward, away, plain)
    for place in (0, 1):
        assert states.away_over_toward(place) == pytest.approx(3 * (2 / 3) ** 0.5)


def test_the_cosine_of_the_two_personas_shifts() -> None:
    plain = [torch.zeros(1, 2, 2)]
    toward = [torch.tensor([[[3.0, 0.0], [4.0, 0.0]]])]
    for away, wanted in (
        ([[-6.0, 0.0], [-8.0, 0.0]], -1),
        ([[3.0, 0.0], [4.0, 0.0]], 1),
        ([[0.0, 5.0], [0.0, 1.0]], 0),
        ([[3.0, 12.0], [0.0, 0.0]], 9 / (5 * 153**0.5)),
        ([[0.0, 0.0], [0.0, 0.0]], 0),
    ):
        states = PersonaStates(toward, [torch.tensor([away])], plain)
        assert states.cosine(0) == pytest.approx(wanted, abs=1e-6)
