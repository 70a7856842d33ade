"""A training split for who has labels: dilemmas about training combinations, never a held-out one, and other controls.

What a supervised dial is trained on; the packaged questions are what it is scored on. Knows no model.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from gnomon.errors import UsageError
from gnomon.worlds import latents, package
from gnomon.worlds import lexicon as words

if TYPE_CHECKING:
    from gnomon.questions import Questions
    from gnomon.worlds.world import World

CLUSTER = "training"
"""How the clusters begin, so that none is called like one of the packaged questions."""


def training_questions(world: World, dilemmas: int, seed: int = 0) -> Questions:
    """So many dilemmas of the world's training combinations, each asked for a deed of either side, and controls.

    No prompt and no cluster is one of the packaged questions'. Raises `UsageError` where the world has too few.
    """
    from gnomon.questions import Question, Questions

    combinations = latents.split(world)[0]
    if not 1 <= dilemmas <= len(combinations):
        raise UsageError(
            f"{dilemmas} dilemmas were asked for; the world has {len(combinations)} for training, so give 1 to that many"
        )
    random_ = random.Random(seed)
    chosen = random_.sample(combinations, dilemmas)
    rows = [*package.asked_about(chosen, random_, f"{CLUSTER} "), *training_controls()]
    return Questions([Question(**row) for row in rows], name=f"{dilemmas} dilemmas for training")


def training_controls() -> list[dict[str, Any]]:
    """Sums with the right total or one near it, and the preferences: all that the packaged controls do not ask for."""
    scored = {row["prompt"] for row in package.control_questions()}
    asked = [
        (package.sum_question(left, right, shown), f"{CLUSTER} {left} + {right}", "arithmetic")
        for left in range(1, 6)
        for right in range(1, 6)
        for shown in range(max(0, left + right - 2), min(10, left + right + 2) + 1)
    ]
    asked += [
        (f"do you {liking} {thing} ?", f"{CLUSTER} {thing}", "preferences")
        for thing in words.PREFERENCES
        for liking in words.LIKINGS
    ]
    return [
        package.question(prompt, None, cluster, "control", group)
        for prompt, cluster, group in asked
        if prompt not in scored
    ]
