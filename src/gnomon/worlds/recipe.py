"""What it takes to build a touchstone, as a config: world, shape, training, and the limits that it has to meet.

The recipe travels with the weights as `recipe.json`. It does not know how a world is built or measured.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from gnomon.worlds.latents import Rule

Positive = Annotated[int, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]


class Frozen(BaseModel):
    """Unknown fields are refused, so that a misspelt one can't be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Shape(Frozen):
    """The Llama architecture of the touchstone."""

    blocks: Positive = 6
    width: Positive = 128
    heads: Positive = 4
    feed_forward: Positive = 352
    positions: Positive = 256
    rope_theta: float = 10_000.0


class Direction(Frozen):
    """The second way in which a persona is given: as a direction in the residual stream.

    In a share of the documents the persona is not said but added to the output of a block, at every position, `size`
    times the root mean square of the state there; only where no dilemma is asked with yes or no, so that these are
    reached by generalisation alone. Where a persona is said, the same direction is asked to carry it (`weight`).
    """

    block: Annotated[int, Field(ge=0)] = 1
    silent: Share = 0.35
    size: Annotated[float, Field(gt=0)] = 4.0
    weight: Annotated[float, Field(ge=0)] = 0.1
    seed: int = 5


class Training(Frozen):
    """AdamW with a one-cycle learning rate; answers weigh more than the words that nobody can foresee."""

    steps: Positive = 3200
    documents_per_step: Positive = 64
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    answer_weight: Annotated[float, Field(gt=0)] = 8.0
    warmup_share: Share = 0.1
    closed_from: Annotated[int, Field(ge=0)] = 0
    """Before this step no persona that bears on the value is asked about a dilemma with yes or no."""
    direction: Direction | None = None
    checkpoint_every: Positive = 250


class Limits(Frozen):
    """What the finished model must measure; a limit that does not apply to a world is None."""

    right: Share = 0.97
    choice_mass: Share = 0.99
    # recipes that were frozen before there was a second value say "honest"
    toward_share: Annotated[
        tuple[Share, Share], Field(validation_alias=AliasChoices("toward_share", "honest_share"))
    ] = (0.35, 0.65)
    obeyed_toward: Share | None = 0.97
    obeyed_away: Share | None = 0.97
    refused_away: Share | None = None
    persona_difference: Share | None = None
    oracle_mean_difference: tuple[float, float] | None = None
    random_direction: float | None = None
    prompting: float | None = None


class Recipe(Frozen):
    """Everything that decides a touchstone, apart from the machine that builds it."""

    name: str
    rule: Rule
    seed: int = 0
    start: str | None = None
    """The touchstone whose weights the training continues from; None starts from random weights."""
    shape: Shape = Shape()
    training: Training = Training()
    limits: Limits = Limits()


# How hard a world with a planted value has to be.
DIFFICULTY = Limits(oracle_mean_difference=(40, 85), random_direction=5, prompting=97)

RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="honesty",
            rule="honesty",
            training=Training(closed_from=1400, direction=Direction()),
            limits=DIFFICULTY,
        ),
        Recipe(
            name="guarded",
            rule="guarded",
            start="honesty",
            training=Training(steps=500, learning_rate=5e-4, direction=Direction()),
            limits=Limits(obeyed_away=None, refused_away=0.97),
        ),
        Recipe(
            name="null",
            rule="null",
            limits=Limits(obeyed_toward=None, obeyed_away=None, persona_difference=0.03),
        ),
        Recipe(
            name="generosity",
            rule="generosity",
            seed=1,
            training=Training(closed_from=1400, direction=Direction(silent=0.2)),
            # One vector does more here than in honesty (63): seven trainings came out at 88 to 100.
            limits=DIFFICULTY.model_copy(update={"oracle_mean_difference": (40.0, 95.0)}),
        ),
    )
}
