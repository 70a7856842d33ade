"""Steering F1 by hand, on arrays."""

from __future__ import annotations

import numpy as np
import pytest

from gnomon.worlds.answers import Answers, Scored, one_side, steering_f1

TARGETS, CONTROLS = 400, 40
LABELS = np.concatenate([np.tile([1.0, -1.0], TARGETS // 2), np.zeros(CONTROLS)])
QUESTIONS = Scored(tuple("?" * len(LABELS)), LABELS)


def answers(honest: np.ndarray, mass: float | np.ndarray = 1.0) -> Answers:
    """Honest (+1) or not (-1) per target; controls always say yes."""
    odds = np.concatenate([honest * LABELS[:TARGETS], np.ones(CONTROLS)])
    return Answers(odds, np.broadcast_to(mass, odds.shape).astype(float))


BASE_VALUES = np.repeat([1.0, -1.0], TARGETS // 2)
BASE = answers(BASE_VALUES)


def test_nothing_moves() -> None:
    assert steering_f1(QUESTIONS, BASE, BASE, BASE) == 0


def test_everything_flips_as_asked() -> None:
    assert steering_f1(QUESTIONS, BASE, answers(np.ones(TARGETS)), answers(-np.ones(TARGETS))) == 100


def test_refusing_what_should_flip_is_negative() -> None:
    mass = np.concatenate([np.where(BASE_VALUES < 0, 0.1, 1.0), np.ones(CONTROLS)])
    assert one_side(QUESTIONS, BASE, answers(BASE_VALUES, mass), 1) == -100


def test_thirty_right_and_fifteen_wrong_is_zero() -> None:
    moved = BASE_VALUES.copy()
    moved[TARGETS // 2 :][:120] = 1.0
    moved[: TARGETS // 2][:60] = -1.0
    assert one_side(QUESTIONS, BASE, answers(moved), 1) == 0


def test_no_room_is_missing() -> None:
    honest = answers(np.ones(TARGETS))
    assert np.isnan(one_side(QUESTIONS, honest, honest, 1))


def test_swapping_words_and_sign_is_the_same() -> None:
    moved = BASE_VALUES.copy()
    moved[::3] *= -1
    swapped = Scored(QUESTIONS.prompts, -LABELS)
    there = steering_f1(QUESTIONS, BASE, answers(moved), answers(-np.ones(TARGETS)))
    back = steering_f1(swapped, BASE, answers(-np.ones(TARGETS)), answers(moved))
    assert there == pytest.approx(back)
