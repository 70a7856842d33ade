"""State distillation: the targets of each side, the loss worked out from plain forwards, and a planted dial found again."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gnomon.contrast import Contrast
from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.training.cores import FreeCores
from gnomon.training.distillation import (
    DISTIL,
    HALF,
    MIRROR_AWAY,
    MIRROR_TOWARD,
    SIDES,
    StateDistillation,
    targets,
)
from gnomon.training.edited import Edited, singular_bases
from gnomon.training.loop import Schedule, train
from gnomon.training.texts import PersonaStates, Text, persona_states, texts_of
from gnomon.training.writers import residual_writers

BLOCKS = (1, 2)
RANK = 4


@pytest.fixture(scope="module")
def texts(tiny_lm: LM, tiny_contrast: Contrast) -> list[Text]:
    pairs = tiny_contrast.resolve(tiny_lm)
    return texts_of(tiny_lm, pairs, continued=1, max_new_tokens=6, seed=0, most=100)


@pytest.fixture(scope="module")
def states(tiny_lm: LM, texts: list[Text]) -> PersonaStates:
    return persona_states(tiny_lm, texts, BLOCKS)


def edited_of(lm: LM, rank: int = RANK) -> Edited:
    bases = singular_bases(lm, residual_writers(lm, 0, 1), rank)
    return Edited(lm, bases, FreeCores(len(bases), rank))


def objective_of(lm: LM, edited: Edited, texts, states, **changed) -> StateDistillation:
    return StateDistillation(
        lm, edited, texts, states, BLOCKS, **{"start": 0, "sides": DISTIL, "rows": 5, "seed": 0, **changed}
    )


# -- targets -----------------------------------------------------------------------------------------------------------


def test_targets_by_hand() -> None:
    toward, away = torch.tensor([2.0, 0.0]), torch.tensor([-4.0, 2.0])
    wanted = {
        DISTIL: ([2, 0], [-4, 2]),
        MIRROR_AWAY: ([2, 0], [-3, 0]),  # the toward shift turned, 1.5 times as long
        MIRROR_TOWARD: ([8 / 3, -4 / 3], [-4, 2]),
        HALF: ([3, -1], [-3, 1]),
    }
    assert set(wanted) == set(SIDES)
    for sides, (plus, minus) in wanted.items():
        found = targets(toward, away, sides, 1.5)
        torch.testing.assert_close(found[0], torch.tensor(plus, dtype=torch.float32))
        torch.testing.assert_close(found[1], torch.tensor(minus, dtype=torch.float32))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10**6), sides=st.sampled_from(SIDES), ratio=st.floats(0.1, 10))
def test_exchanging_the_personas_exchanges_the_signs(seed: int, sides: str, ratio: float) -> None:
    toward, away = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(seed))
    exchanged = {MIRROR_AWAY: MIRROR_TOWARD, MIRROR_TOWARD: MIRROR_AWAY}.get(sides, sides)
    plus, minus = targets(toward, away, sides, ratio)
    other_minus, other_plus = targets(away, toward, exchanged, 1 / ratio)
    torch.testing.assert_close(plus, other_plus)
    torch.testing.assert_close(minus, other_minus)


def test_opposite_personas_are_imitated_alike_whatever_the_sides() -> None:
    shift = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    for sides in SIDES:
        plus, minus = targets(shift, -shift, sides, 1.0)
        torch.testing.assert_close(plus, shift)
        torch.testing.assert_close(minus, -shift)


# -- the loss ----------------------------------------------------------------------------------------------------------


def by_hand(texts, states: PersonaStates, sides: str, change: dict[int, list[torch.Tensor]] | None) -> float:
    """The validation loss, position by position; `change` is what the dial adds to each text's tail at [+1, -1]."""
    ratio = states.away_over_toward(0)
    loss = 0.0
    for place in range(len(BLOCKS)):
        squares: dict[bool, list[float]] = {False: [], True: []}
        lengths: list[float] = []
        for index, text in enumerate(texts):
            plain = states.plain[index][place]
            wanted = targets(
                states.toward[index][place] - plain, states.away[index][place] - plain, sides, ratio
            )
            for sign in range(2):
                moved = torch.zeros_like(plain) if change is None else change[index][sign][place]
                squares[text.validation] += (moved - wanted[sign]).square().sum(-1).tolist()
                if not text.validation:
                    lengths += wanted[sign].square().sum(-1).tolist()
        # The mean over both signs times two is the sum over the signs of the means.
        loss += 2 * (sum(squares[True]) / len(squares[True])) / (sum(lengths) / len(lengths))
    return loss


@pytest.mark.parametrize("sides", SIDES)
def test_an_untrained_dials_loss_is_two_per_block_and_that_of_unseen_texts_by_hand(
    tiny_lm: LM, texts, states, sides: str
) -> None:
    edited = edited_of(tiny_lm)
    objective = objective_of(tiny_lm, edited, texts, states, sides=sides, rows=100)
    with edited.attached(), torch.no_grad():
        terms = objective.terms(0, 0)
        assert list(terms) == ["block 1", "block 2"]
        for term in terms.values():
            assert float(term) == pytest.approx(2, rel=1e-4)
        assert float(objective.validation()) == pytest.approx(by_hand(texts, states, sides, None), rel=1e-4)


@pytest.mark.parametrize("sides", SIDES)
def test_a_trained_dials_loss_by_hand(tiny_lm: LM, texts, states, sides: str) -> None:
    edited = edited_of(tiny_lm)
    with torch.no_grad():
        edited.cores.K.copy_(
            0.3 * torch.randn(edited.cores.K.shape, generator=torch.Generator().manual_seed(0))
        )
    change: dict[int, list[torch.Tensor]] = {}
    for index, text in enumerate(texts):
        moved = []
        for alpha in (1.0, -1.0):
            with tiny_lm.edited(edited.edits(), alpha, first_token=True):
                found = tails(tiny_lm, text.plain, text.tail)
            moved.append(found - states.plain[index])
        change[index] = moved
    objective = objective_of(tiny_lm, edited, texts, states, sides=sides)
    with edited.attached(), torch.no_grad():
        assert float(objective.validation()) == pytest.approx(by_hand(texts, states, sides, change), rel=1e-3)


def tails(lm: LM, row: list[int], tail: int) -> torch.Tensor:
    """States of one row alone, in the model as it is now: `[block, position, d_model]`."""
    seen: list[torch.Tensor] = []
    handles = [
        lm.blocks[block].register_forward_hook(lambda module, args, output: seen.append(output[0, -tail:]))
        for block in BLOCKS
    ]
    with torch.no_grad():
        lm.model(input_ids=torch.tensor([row]))
    for handle in handles:
        handle.remove()
    return torch.stack(seen)


def test_however_texts_are_batched_the_validation_is_the_same(tiny_lm: LM, texts, states) -> None:
    edited = edited_of(tiny_lm)
    values = []
    for rows, seed in ((1, 0), (4, 0), (4, 1), (100, 0)):
        objective = objective_of(tiny_lm, edited, texts, states, rows=rows, seed=seed)
        own = sum(not text.validation for text in texts)
        assert objective.batches == -(-own // rows)
        with edited.attached(), torch.no_grad():
            values.append(float(objective.validation()))
    assert values == pytest.approx([values[0]] * 4, rel=1e-4)


def test_the_loss_sees_validation_texts_only_in_validation(tiny_lm: LM, texts, states) -> None:
    """States of validation texts that are changed change no training term, and the other way round."""

    def losses(of: PersonaStates) -> tuple[float, float]:
        edited = edited_of(tiny_lm)
        objective = objective_of(tiny_lm, edited, texts, of, rows=100)
        with edited.attached(), torch.no_grad():
            gap = objective._gaps[0]
            return float(objective.terms(0, 0)["block 1"] * gap), float(objective.validation())

    def changed(validation: bool) -> PersonaStates:
        toward = [
            state + 1.0 if text.validation == validation else state
            for text, state in zip(texts, states.toward, strict=True)
        ]
        return PersonaStates(toward, states.away, states.plain)

    before, only_validation, only_training = losses(states), losses(changed(True)), losses(changed(False))
    assert only_validation[0] == pytest.approx(before[0], rel=1e-5)
    assert only_validation[1] > before[1] * 1.01
    assert only_training[0] > before[0] * 1.01


# -- a planted dial ----------------------------------------------------------------------------------------------------


def planted(lm: LM, texts) -> tuple[torch.Tensor, PersonaStates]:
    """A dial that is there, and personas that do what it does."""
    edited = edited_of(lm)
    K = 0.3 * torch.randn(edited.cores.K.shape, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        edited.cores.K.copy_(K)
    sides = []
    for alpha in (1.0, -1.0, 0.0):
        with lm.edited(edited.edits(), alpha, first_token=True):
            sides.append([tails(lm, text.plain, text.tail) for text in texts])
    return K, PersonaStates(*sides)


def test_the_loss_is_zero_where_the_dial_is_what_the_personas_do(tiny_lm: LM, texts) -> None:
    K, states = planted(tiny_lm, texts)
    edited = edited_of(tiny_lm)
    objective = objective_of(tiny_lm, edited, texts, states)
    with edited.attached(), torch.no_grad():
        assert float(objective.validation()) > 2
        edited.cores.K.copy_(K)
        assert float(objective.validation()) < 1e-6
        assert sum(float(objective.terms(batch, 0)["block 1"]) for batch in range(objective.batches)) < 1e-6


def test_a_dial_that_is_there_is_found(tiny_lm: LM, texts) -> None:
    K, states = planted(tiny_lm, texts)
    edited = edited_of(tiny_lm)
    objective = objective_of(tiny_lm, edited, texts, states)
    with edited.attached():
        with torch.no_grad():
            untrained = float(objective.validation())
        trained = train(objective, Schedule(steps=80, learning_rate=0.05, validate_every=20), seed=0)
    assert trained.best < untrained / 20
    found = edited.cores.K.detach()
    assert float((found * K).sum() / found.norm() / K.norm()) > 0.9


# -- what cannot be ----------------------------------------------------------------------------------------------------


def test_texts_of_one_split_alone_are_refused(tiny_lm: LM, texts, states) -> None:
    for validation in (True, False):
        kept = [index for index, text in enumerate(texts) if text.validation == validation]
        own = PersonaStates(*([side[i] for i in kept] for side in (states.toward, states.away, states.plain)))
        with pytest.raises(UsageError, match=r"leave none to train on or none to validate on; give more"):
            objective_of(tiny_lm, edited_of(tiny_lm), [texts[index] for index in kept], own)


def test_what_a_checkpoint_is_of_tells_objectives_apart(
    tiny_lm: LM, other_tiny_lm: LM, texts, states
) -> None:
    def about(lm: LM = tiny_lm, some=texts, **changed):
        own = PersonaStates(*(side[: len(some)] for side in (states.toward, states.away, states.plain)))
        return objective_of(lm, edited_of(lm), some, own, **changed).about

    assert about() == about()
    others = [about(lm=other_tiny_lm), about(some=texts[:-1]), about(sides=HALF), about(rows=6)]
    assert all(other != about() for other in others)


def test_progress_counts_the_texts(tiny_lm: LM, texts, states) -> None:
    done: list[tuple[int, int]] = []
    objective_of(tiny_lm, edited_of(tiny_lm), texts, states, progress=lambda *counts: done.append(counts))
    assert done[-1] == (len(texts), len(texts))
    assert [count for count, _ in done] == sorted(count for count, _ in done)
