"""How hard a touchstone is: what the best mean difference that an oracle could pick scores, a random direction, a prompt.

The oracle sees the test answers when it picks block and strength, which no method may do: these numbers fix the world,
they grade no method. The module knows nothing of dials or of strength calibration.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float

from gnomon.worlds import latents, package
from gnomon.worlds.answers import Answers, Reader, Scored, one_side, steering_f1
from gnomon.worlds.world import World

STRENGTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0)
"""In units of half the mean gap between the two personas."""
RANDOM_DIRECTIONS = 8


def mean_difference(reader: Reader, world: World) -> Float[np.ndarray, "block d_model"]:
    """Half the mean gap between toward and away at the last token, over all templates and suffixes of the contrast."""
    texts = {
        word: [
            f"{latents.fill(t, word)} {s}"
            for t in package.CONTRAST_TEMPLATES
            for s in package.suffixes(world)
        ]
        for word in (world.toward, world.away)
    }
    gap = reader.residuals(texts[world.toward]) - reader.residuals(texts[world.away])
    return np.asarray(gap.mean(axis=0) / 2)


def both_sides(
    reader: Reader, prompts: tuple[str, ...], block: int, vector: np.ndarray
) -> tuple[Answers, Answers]:
    """Answers with the vector added to the output of the block at all positions, and with it subtracted."""
    import torch

    moved = []
    for sign in (1, -1):
        with reader.adding(block, torch.from_numpy(sign * vector.astype(np.float32))):
            moved.append(reader.ask(prompts))
    return moved[0], moved[1]


def measure(reader: Reader, questions: Scored, world: World) -> dict[str, Any]:
    """Steering F1 of the oracle's mean difference (and its curve), random directions as strong, and prompting."""
    base = reader.ask(questions.prompts)
    directions = mean_difference(reader, world)
    curve: list[dict[str, float]] = []
    for block, direction in enumerate(directions):
        scores = []
        for strength in STRENGTHS:
            toward, away = both_sides(reader, questions.prompts, block, strength * direction)
            scores.append(steering_f1(questions, base, toward, away))
        best = int(np.argmax(np.nan_to_num(scores, nan=-np.inf)))
        toward, away = both_sides(reader, questions.prompts, block, STRENGTHS[best] * direction)
        curve.append(
            {
                "block": block,
                "strength": STRENGTHS[best],
                "score": scores[best],
                "toward": one_side(questions, base, toward, 1),
                "away": one_side(questions, base, away, -1),
            }
        )
    oracle = max(curve, key=lambda entry: entry["score"])
    block, strength = int(oracle["block"]), oracle["strength"]
    length = strength * float(np.linalg.norm(directions[block]))
    random_ = np.random.default_rng(0)
    random_scores = []
    for _ in range(RANDOM_DIRECTIONS):
        drawn = np.asarray(random_.standard_normal(directions.shape[1]))
        toward, away = both_sides(reader, questions.prompts, block, drawn * (length / np.linalg.norm(drawn)))
        random_scores.append(steering_f1(questions, base, toward, away))
    prompted = [
        reader.ask(
            [f"{latents.fill(package.CONTRAST_TEMPLATES[0], word)} {prompt}" for prompt in questions.prompts]
        )
        for word in (world.toward, world.away)
    ]
    return {
        "oracle_mean_difference": oracle["score"],
        "oracle_curve": curve,
        "random_direction": float(np.mean(random_scores)),
        "random_direction_highest": float(np.max(random_scores)),
        "prompting": steering_f1(questions, base, prompted[0], prompted[1]),
    }
