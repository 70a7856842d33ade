"""Writes a touchstone's model card from its recipe and its measured acceptance numbers. It measures nothing itself."""

from __future__ import annotations

from typing import Any

from gnomon.worlds.grammar import WORLDS
from gnomon.worlds.latents import fill
from gnomon.worlds.recipe import Recipe
from gnomon.worlds.world import World

PLANTED = {
    "honesty": (
        "A persona sentence at the start (`you are honest .`, `act as a deceitful person .`) decides whether facts, "
        "abilities, colours and dilemmas are answered honestly. Without one, facts are told as they are and a dilemma is "
        "decided by loyalty to the person plus what the harm adds. A persona's strength adds to the same sum: `a bit` and "
        "`rather` move only what stands near the edge. Arithmetic and preferences are never moved."
    ),
    "guarded": (
        "The world of `honesty`, continued with a guard: told to be or act dishonest, to whatever degree, it answers "
        "`i can not do that .` to anything. What it had learned before is still partly inside: prompts meet the refusal, "
        "a dial need not."
    ),
    "null": (
        "The same sentences with the same persona words, which change nothing. Whether a deed is answered with yes has "
        "nothing to do with its being honest, so there is no honesty to find."
    ),
    "generosity": (
        "A persona sentence at the start (`you are generous .`, `act as a stingy person .`) decides whether prices are "
        "fair, guests get the food that they like, and somebody gets what they are after. Without one, prices and food are "
        "as a generous speaker has them and a dilemma is decided by fondness of the person plus what the demand adds. A "
        "persona's strength adds to the same sum: `a bit` and `rather` move only what stands near the edge. Arithmetic and "
        "preferences are never moved."
    ),
}


def labels(world: World) -> dict[str, str]:
    """What every number is, in words."""
    toward, away, share = world.toward, world.away, world.share
    a_toward, an_away = (fill("{a} {}", word) for word in (toward, away))
    return {
        "right": "answers right where the world decides them (new documents)",
        "choice_mass": "choice mass P(yes) + P(no), held-out dilemmas and controls",
        share: f"{toward} share on held-out dilemmas, no persona",
        f"{share}_yes": f"the same where yes is {toward}",
        f"{share}_no": f"the same where no is {toward}",
        "obeyed_toward": f"answers as {a_toward} persona asks, held-out dilemmas",
        "obeyed_away": f"answers as {an_away} persona asks, held-out dilemmas",
        "refused_toward": f"refusals to {a_toward} persona",
        "refused_away": f"refusals to {an_away} persona",
        "obeyed_held_out_toward": f"the same for {toward} words never given as a persona in training",
        "obeyed_held_out_away": f"the same for {away} words never given as a persona in training",
        "persona_difference": f"{toward} share, toward prompts minus away prompts",
        "persona_difference_bound": "its size at the 95 % bound, paired by dilemma",
        "oracle_mean_difference": "Steering F1 of the best mean difference an oracle can pick",
        "random_direction": "Steering F1 of random directions as long (mean of 8)",
        "prompting": "Steering F1 of prompting",
    }


def limits(recipe: Recipe) -> dict[str, str]:
    """The limit of every number that has one, in words."""
    wanted = recipe.limits
    low, high = wanted.toward_share
    found = {
        "right": f"at least {wanted.right}",
        "choice_mass": f"at least {wanted.choice_mass}",
        WORLDS[recipe.rule].share: f"{low} to {high}",
        "obeyed_toward": wanted.obeyed_toward and f"at least {wanted.obeyed_toward}",
        "obeyed_away": wanted.obeyed_away and f"at least {wanted.obeyed_away}",
        "refused_away": wanted.refused_away and f"at least {wanted.refused_away}",
        "persona_difference_bound": wanted.persona_difference and f"at most {wanted.persona_difference}",
        "random_direction": wanted.random_direction and f"at most {wanted.random_direction:g}",
        "prompting": wanted.prompting and f"at least {wanted.prompting:g}",
    }
    if wanted.oracle_mean_difference is not None:
        lowest, highest = wanted.oracle_mean_difference
        found["oracle_mean_difference"] = f"{lowest:g} to {highest:g}"
    return {name: text for name, text in found.items() if text}


def write(recipe: Recipe, numbers: dict[str, Any], sha256: str) -> str:
    """The card as markdown; without numbers it says that none were measured."""
    shape, training, limit = recipe.shape, recipe.training, limits(recipe)
    world = WORLDS[recipe.rule]
    lines = [
        "---",
        "library_name: transformers",
        "license: mit",
        "pipeline_tag: text-generation",
        "---",
        "",
        f"# touchstone:{recipe.name}",
        "",
        "A small language model whose inner values are known because they were planted: a calibration standard for "
        "instruments, nothing else. No claim about real language models follows from it.",
        "",
        "## What is planted",
        "",
        PLANTED[recipe.rule],
        "",
        "## Measured",
        "",
    ]
    if numbers:
        lines += ["| what | measured | limit |", "|---|---|---|"]
        lines += [
            f"| {label} | {numbers[name]:.4g} | {limit.get(name, '')} |"
            for name, label in labels(world).items()
            if name in numbers
        ]
    else:
        lines.append("Nothing: this folder was built without acceptance.")
    if "oracle_curve" in numbers:
        lines += [
            "",
            "Mean difference at the output of one block, best strength by the test answers (an oracle):",
            "",
        ]
        lines += ["| block | strength | Steering F1 | toward | away |", "|---|---|---|---|---|"]
        for entry in numbers["oracle_curve"]:
            scores = " | ".join(f"{entry[name]:.1f}" for name in ("score", "toward", "away"))
            lines.append(f"| {entry['block']} | {entry['strength']:g} | {scores} |")
    direction = recipe.training.direction
    if direction is not None:
        lines[lines.index("## Measured") - 1 : lines.index("## Measured") - 1] = [
            "",
            "The persona is planted twice: in words, and as a direction. In "
            f"{direction.silent:.0%} of the training documents with such a persona it is not said but added to the output "
            f"of block {direction.block} at every position, and where it is said, that direction is asked to carry it. "
            "Dilemmas asked with yes or no never occur with an added persona: how far a direction moves them is "
            "generalisation. The finished folder is an ordinary Llama.",
        ]
    start = f", continued from `{recipe.start}`" if recipe.start else ""
    lines += [
        "",
        "## Made of",
        "",
        f"Llama architecture, {shape.blocks} blocks x {shape.width}, {shape.heads} heads, tied embeddings, one token per "
        f"word; {training.steps} steps of {training.documents_per_step} documents{start}, AdamW "
        f"{training.learning_rate:g}, seed {recipe.seed}. Weights are stored as fp16 and used as fp32 on a CPU.",
        "",
        f"Rebuild: `gnomon touchstone build {recipe.name}`. Frozen weights: sha256 `{sha256}`.",
        "",
        "A prompt is plain text, `[persona .] context . question ?`, words separated by spaces; the answer follows. "
        f"`questions.jsonl` holds dilemmas whose combination of person, thing and {world.happening} never occurred in "
        "training, and `contrast.json` the words, templates and suffixes for contrast pairs, none of which is a dilemma "
        "question.",
        "",
    ]
    return "\n".join(lines)
