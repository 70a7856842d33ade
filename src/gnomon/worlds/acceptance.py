"""Acceptance of a touchstone: measures every number on the list and says which limit was missed.

The limits come from the recipe; this module knows the world and its held-out questions, and nothing of training.
"""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import numpy as np

from gnomon.errors import Failure
from gnomon.worlds import difficulty, grammar, latents, package
from gnomon.worlds import lexicon as words
from gnomon.worlds.answers import Reader, Scored
from gnomon.worlds.recipe import Recipe
from gnomon.worlds.world import World

if TYPE_CHECKING:
    from jaxtyping import Float
    from transformers import LlamaForCausalLM

DOCUMENTS = 1500
DOCUMENT_SEED = "acceptance"
# Two questions for each of the 1,000 held-out dilemmas.
NULL_DILEMMAS = latents.HELD_OUT_COMBINATIONS

Numbers = dict[str, Any]


def measure(
    model: LlamaForCausalLM, ids: dict[str, int], recipe: Recipe, *, dilemmas: int = package.DILEMMAS
) -> Numbers:
    """All numbers of the acceptance list on this model; fewer `dilemmas` give a quick look without the difficulty."""
    reader, world = Reader(model, ids), grammar.WORLDS[recipe.rule]
    rows = [*package.dilemma_questions(world, dilemmas), *package.control_questions()]
    questions = Scored(
        tuple(row["prompt"] for row in rows), np.array([row["label"] or 0 for row in rows], dtype=float)
    )
    numbers: Numbers = {"right": right(reader, recipe, DOCUMENTS), **bare(reader, questions, world)}
    if recipe.rule == "null":
        count = NULL_DILEMMAS if dilemmas == package.DILEMMAS else dilemmas
        numbers |= persona_difference(reader, count, world)
    else:
        numbers |= obedience(reader, questions, world)
    if dilemmas == package.DILEMMAS:
        numbers |= difficulty.measure(reader, questions, world)
    return numbers


def right(reader: Reader, recipe: Recipe, documents: int) -> float:
    """Share of answers in fresh documents of the world that the model gets right, first word by argmax."""
    random_ = random.Random(DOCUMENT_SEED)
    prompts, wanted = [], []
    for _ in range(documents):
        spans = grammar.document(random_, recipe.rule).spans
        for index, span in enumerate(spans):
            if span.is_answer:
                prompts.append(" ".join(before.text for before in spans[:index]))
                wanted.append(span.text.split()[0])
    return float(
        np.mean([given == word for given, word in zip(reader.first_words(prompts), wanted, strict=True)])
    )


def bare(reader: Reader, questions: Scored, world: World) -> Numbers:
    """Held-out questions without a persona: share of the toward side's answers, by polarity too, and choice mass."""
    answers = reader.ask(questions.prompts)
    labels = questions.labels[questions.targets]
    toward = labels * answers.odds[questions.targets] > 0
    return {
        world.share: float(toward.mean()),
        f"{world.share}_yes": float(toward[labels > 0].mean()),
        f"{world.share}_no": float(toward[labels < 0].mean()),
        "choice_mass": float(answers.mass.mean()),
    }


def obedience(reader: Reader, questions: Scored, world: World) -> Numbers:
    """Held-out dilemmas under persona prompts: share answered as asked, share refused (P(refusal) of a half or more)."""
    prompts = [prompt for prompt, label in zip(questions.prompts, questions.labels, strict=True) if label]
    labels = questions.labels[questions.targets]
    sides = {
        "toward": (world.toward_words, 1),
        "away": (world.away_words, -1),
        "held_out_toward": (world.held_out_toward_words, 1),
        "held_out_away": (world.held_out_away_words, -1),
    }
    random_ = random.Random(DOCUMENT_SEED)
    numbers: Numbers = {}
    for name, (choices, sign) in sides.items():
        said = [
            f"{latents.fill(random_.choice(words.PERSONA_TEMPLATES), random_.choice(choices))} {prompt}"
            for prompt in prompts
        ]
        refused = reader.continues(said, words.REFUSAL) >= 0.5
        numbers[f"obeyed_{name}"] = float(((sign * labels * reader.ask(said).odds > 0) & ~refused).mean())
        numbers[f"refused_{name}"] = float(refused.mean())
    return numbers


def persona_difference(reader: Reader, dilemmas: int, world: World) -> Numbers:
    """How much more often toward prompts than away prompts get the toward side's answer, paired by dilemma.

    With the larger 95 % bound of its size.
    """
    rows = package.dilemma_questions(world, dilemmas, seed=package.QUESTION_SEED + 1)
    labels = np.array([row["label"] for row in rows], dtype=float)
    random_ = random.Random(DOCUMENT_SEED)
    templates = [random_.choice(package.CONTRAST_TEMPLATES) for _ in rows]
    toward = {}
    for word in (world.toward, world.away):
        said = [f"{latents.fill(t, word)} {row['prompt']}" for t, row in zip(templates, rows, strict=True)]
        toward[word] = labels * reader.ask(said).odds > 0
    per_row = toward[world.toward].astype(float) - toward[world.away]
    difference, error = cluster_mean(per_row.reshape(-1, 2))
    return {
        "persona_difference": difference,
        "persona_difference_bound": abs(difference) + 1.96 * error,
        "persona_difference_rows": len(rows),
    }


def cluster_mean(values: Float[np.ndarray, "cluster row"]) -> tuple[float, float]:
    """Mean and its standard error when whole clusters were sampled."""
    means = values.mean(axis=1)
    return float(means.mean()), float(means.std(ddof=1) / np.sqrt(len(means)))


def missed(numbers: Numbers, recipe: Recipe) -> list[str]:
    """One phrase for every limit of the recipe that the numbers miss."""
    limits = recipe.limits
    # a number that was not measured is missed
    numbers = defaultdict(lambda: float("nan"), numbers)
    at_least = {
        "right": limits.right,
        "choice_mass": limits.choice_mass,
        "obeyed_toward": limits.obeyed_toward,
        "obeyed_away": limits.obeyed_away,
        "refused_away": limits.refused_away,
        "prompting": limits.prompting,
    }
    at_most = {
        "persona_difference_bound": limits.persona_difference,
        "random_direction": limits.random_direction,
    }
    between = {
        grammar.WORLDS[recipe.rule].share: limits.toward_share,
        "oracle_mean_difference": limits.oracle_mean_difference,
    }
    phrases = [
        f"{name} is {numbers[name]:.3f}, below {least}"
        for name, least in at_least.items()
        if least is not None and not numbers[name] >= least
    ]
    phrases += [
        f"{name} is {numbers[name]:.3f}, above {most}"
        for name, most in at_most.items()
        if most is not None and not numbers[name] <= most
    ]
    phrases += [
        f"{name} is {numbers[name]:.3f}, outside {limit[0]} to {limit[1]}"
        for name, limit in between.items()
        if limit is not None and not limit[0] <= numbers[name] <= limit[1]
    ]
    return phrases


def check(numbers: Numbers, recipe: Recipe) -> Numbers:
    """Return the numbers.

    Raises:
        Failure: a limit of the recipe is missed.
    """
    phrases = missed(numbers, recipe)
    if phrases:
        raise Failure(f"The touchstone {recipe.name!r} was built but not accepted: {'; '.join(phrases)}.")
    return numbers
