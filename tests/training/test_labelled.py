"""Labelled answers as a loss: by hand from the model's own answers, with spellings of several tokens; the split."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from gnomon.errors import UsageError
from gnomon.lm import LM
from gnomon.questions import Question, Questions
from gnomon.training.cores import FreeCores
from gnomon.training.edited import Edited, singular_bases
from gnomon.training.labelled import LabelledAnswers, validation_clusters
from gnomon.training.writers import residual_writers

ONE_TOKEN = {"yes": ["yes"], "no": ["no"]}
# Classes whose spellings begin alike, of one to three tokens; one spelling begins another of its own class.
WIDE = {"yes": ["yes", "i like tea", "i like", "the cat"], "no": ["no", "i can not", "the dog sat"]}
PLACES = ("sky", "grass", "cat", "dog", "mat", "tea", "story", "time")


def questions_of(classes: dict[str, list[str]] = ONE_TOKEN, controls: bool = True) -> Questions:
    rows = [
        Question(f"is the {place} blue and do you {deed} ?", classes, label, place, "target", "t")
        for place in PLACES
        for deed, label in (("like that", 1), ("sat", -1))
    ]
    if controls:
        rows += [
            Question(f"is {a} plus {b} five ?", classes, None, f"{a} + {b}", "control", "arithmetic")
            for a in ("one", "two", "three")
            for b in ("one", "two")
        ]
    return Questions(rows, name="mine")


def edited_of(lm: LM, K: float = 0.0) -> Edited:
    bases = singular_bases(lm, residual_writers(lm, 1, 2), 6)
    edited = Edited(lm, bases, FreeCores(len(bases), 6))
    with torch.no_grad():
        edited.cores.K.copy_(
            K * torch.randn(edited.cores.K.shape, generator=torch.Generator().manual_seed(0))
        )
    return edited


def objective_of(lm: LM, edited: Edited, asked: Questions, **changed) -> LabelledAnswers:
    given = {"start": 1, "rows": 4, "control_weight": 0.5, "seed": 0}
    return LabelledAnswers(lm, edited, asked, **{**given, **changed})


def by_hand(lm: LM, edited: Edited, asked: list[Question], weight: float) -> float:
    """The loss from what the model answers at -1, 0 and +1, question by question."""
    odds = {}
    for alpha in (-1.0, 0.0, 1.0):
        with lm.edited(edited.edits(), alpha, first_token=True):
            odds[alpha] = lm.answers([one.prompt for one in asked], [one.classes for one in asked]).log_odds
    targets, controls = [], []
    for alpha in (1.0, -1.0):
        for row, one in enumerate(asked):
            if one.label is None:
                controls.append((odds[alpha][row] - odds[0.0][row]) ** 2)
            else:
                targets.append(math.log1p(math.exp(-alpha * one.label * odds[alpha][row])))
    return float(np.mean(targets) + (weight * np.mean(controls) if controls else 0.0))


@pytest.mark.parametrize("classes", [ONE_TOKEN, WIDE], ids=["one token", "several tokens"])
@pytest.mark.parametrize("controls", [True, False])
def test_the_loss_by_hand_on_training_and_on_validation_questions(
    tiny_lm: LM, classes, controls: bool
) -> None:
    asked = questions_of(classes, controls)
    edited = edited_of(tiny_lm, 0.5)
    # One batch with every training question in it.
    objective = objective_of(tiny_lm, edited, asked, rows=100)
    assert objective.batches == 1
    kept_out = validation_clusters(asked, 0)
    sides = [[one for one in asked if (one.cluster in kept_out) == side] for side in (False, True)]
    with edited.attached(), torch.no_grad():
        terms = objective.terms(0, 0)
        losses = [float(sum(terms.values())), float(objective.validation())]
    assert set(terms) == ({"labels", "controls"} if controls else {"labels"})
    wanted = [by_hand(tiny_lm, edited, side, 0.5) for side in sides]
    assert losses == pytest.approx(wanted, rel=1e-4)
    if controls:
        assert float(terms["controls"]) > 1e-3


def test_an_untrained_dial_moves_no_control_and_each_sign_pays_for_the_other(tiny_lm: LM) -> None:
    asked, edited = questions_of(), edited_of(tiny_lm)
    objective = objective_of(tiny_lm, edited, asked, rows=100)
    with edited.attached(), torch.no_grad():
        terms = objective.terms(0, 0)
    assert float(terms["controls"]) < 1e-8
    # softplus(-z) + softplus(z) is at least 2 log 2.
    assert float(terms["labels"]) >= math.log(2)


def test_the_gradient_goes_where_labels_point(tiny_lm: LM) -> None:
    """With every label turned round, the gradient at K = 0 is turned round."""
    asked = questions_of(controls=False)
    turned = Questions(
        [Question(q.prompt, q.classes, -(q.label or 0), q.cluster, "target", "t") for q in asked],
        name="turned",
    )
    slopes = []
    for own in (asked, turned):
        edited = edited_of(tiny_lm)
        objective = objective_of(tiny_lm, edited, own, rows=100)
        with edited.attached():
            objective.terms(0, 0)["labels"].backward()
        slopes.append(edited.cores.K.grad)
    assert float(slopes[0].norm()) > 1e-4
    # Both signs answer alike there, so their weights add up to 1 however sure the answers are.
    torch.testing.assert_close(slopes[0], -slopes[1], rtol=1e-3, atol=1e-6)


def test_a_dilemma_is_on_one_side_of_the_split_and_controls_are_on_both() -> None:
    asked = questions_of()
    kept = validation_clusters(asked, 0)
    targets, controls = ({one.cluster for one in side} for side in (asked.targets, asked.controls))
    assert len(kept & targets) == 2  # a quarter of eight
    assert len(kept & controls) == 2  # a quarter of six, rounded
    assert kept == validation_clusters(asked, 0)
    assert len({frozenset(validation_clusters(asked, seed)) for seed in range(5)}) > 1


def test_batches_hold_every_training_target_once_and_some_controls_each(tiny_lm: LM) -> None:
    asked = questions_of()
    objective = objective_of(tiny_lm, edited_of(tiny_lm), asked, rows=4)
    labels = [batch.label.tolist() for batch in objective._training]
    assert [sum(label != 0 for label in own) for own in labels] == [4, 4, 4]
    assert all(own.count(0.0) == 1 for own in labels)
    assert sum(own.count(1.0) for own in labels) == sum(own.count(-1.0) for own in labels) == 6
    assert sum(batch.label.numel() for batch in objective._validation) == 2 * 2 + 2


def test_however_validation_is_batched_it_is_the_same(tiny_lm: LM) -> None:
    edited = edited_of(tiny_lm, 0.5)
    values = []
    for rows in (1, 3, 100):
        objective = objective_of(tiny_lm, edited, questions_of(), rows=rows)
        with edited.attached(), torch.no_grad():
            values.append(float(objective.validation()))
    assert values == pytest.approx([values[0]] * 3, rel=1e-4)


def test_what_a_checkpoint_is_of_tells_objectives_apart(tiny_lm: LM, other_tiny_lm: LM) -> None:
    def about(lm: LM = tiny_lm, asked: Questions | None = None, **changed):
        return objective_of(lm, edited_of(lm), asked or questions_of(), **changed).about

    assert about() == about()
    others = [
        about(lm=other_tiny_lm),
        about(asked=questions_of(controls=False)),
        about(rows=5),
        about(control_weight=1.0),
    ]
    assert all(other != about() for other in others)


def test_questions_of_one_dilemma_alone_are_refused(tiny_lm: LM) -> None:
    alone = Questions([one for one in questions_of() if one.cluster == "sky"], name="mine")
    with pytest.raises(UsageError, match="mine has labelled questions in 1 clusters; give at least 2"):
        objective_of(tiny_lm, edited_of(tiny_lm), alone)


def test_answers_that_cannot_be_told_apart_are_refused(tiny_lm: LM) -> None:
    with pytest.raises(UsageError, match="cannot be told apart"):
        objective_of(
            tiny_lm, edited_of(tiny_lm), questions_of({"yes": ["yes", "i can"], "no": ["i can not"]})
        )


def test_progress_counts_the_batches(tiny_lm: LM) -> None:
    done: list[tuple[int, int]] = []
    objective_of(tiny_lm, edited_of(tiny_lm), questions_of(), progress=lambda *counts: done.append(counts))
    assert done == [(count, len(done)) for count in range(1, len(done) + 1)]
