"""A build of a tiny recipe from door to door, resuming included, and the acceptance limits."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

from gnomon.errors import Failure, UsageError
from gnomon.worlds import acceptance, card
from gnomon.worlds.build import build, recipe_named
from gnomon.worlds.recipe import RECIPES, Limits, Recipe, Shape, Training

TINY = Recipe(
    name="tiny",
    rule="honesty",
    shape=Shape(blocks=2, width=32, heads=2, feed_forward=64),
    training=Training(steps=20, documents_per_step=8, checkpoint_every=5),
)


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def test_a_tiny_build_opens_and_is_refused_by_the_acceptance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import AutoModelForCausalLM

    monkeypatch.setattr(acceptance, "DOCUMENTS", 100)
    monkeypatch.setattr(acceptance, "measure", partial(acceptance.measure, dilemmas=20))

    steps: list[int] = []
    recipe = TINY.model_copy(update={"limits": Limits(right=0.999)})
    with pytest.raises(Failure, match=r"'tiny'.*right is"):
        build("tiny", tmp_path, recipe=recipe, progress=lambda step, total, loss: steps.append(step))
    assert steps[-1] == 20
    assert AutoModelForCausalLM.from_pretrained(tmp_path).config.num_hidden_layers == 2
    written = json.loads((tmp_path / "recipe.json").read_text())
    assert Recipe.model_validate(written["recipe"]) == recipe
    assert 0 <= written["acceptance"]["right"] < 0.999
    assert written["sha256"] in (tmp_path / "README.md").read_text()
    assert not (tmp_path / "training.pt").exists()


class Killed(Exception):
    """Stands for the signal that ends a build."""


def test_a_killed_build_resumes_to_the_same_weights(tmp_path: Path) -> None:
    def kill(step: int, total: int, loss: float) -> None:
        if step >= 20:
            raise Killed

    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    recipe = TINY.model_copy(
        update={"training": Training(steps=30, documents_per_step=8, checkpoint_every=5)}
    )
    build("tiny", whole, recipe=recipe, accept=False, progress=lambda *_: None)
    with pytest.raises(Killed):
        build("tiny", resumed, recipe=recipe, accept=False, progress=kill)
    assert (resumed / "training.pt").exists()
    build("tiny", resumed, recipe=recipe, accept=False, progress=lambda *_: None)
    read = [json.loads((folder / "recipe.json").read_text())["sha256"] for folder in (whole, resumed)]
    assert read[0] == read[1]


def test_an_unknown_recipe_is_one_sentence() -> None:
    with pytest.raises(UsageError, match=r"'gold'.*honesty, guarded, null, generosity"):
        recipe_named("gold")


def test_a_misspelt_field_is_refused() -> None:
    with pytest.raises(ValueError, match="stepz"):
        Training.model_validate({"stepz": 3})


def test_missed_limits_are_named() -> None:
    limits = Limits(obeyed_toward=None, obeyed_away=None, oracle_mean_difference=(40, 85), random_direction=5)
    recipe = TINY.model_copy(update={"limits": limits})
    numbers = {
        "right": 0.99,
        "choice_mass": 0.5,
        "honest_share": 0.7,
        "oracle_mean_difference": 90,
        "random_direction": 1,
    }
    phrases = acceptance.missed(numbers, recipe)
    assert [phrase.split()[0] for phrase in phrases] == [
        "choice_mass",
        "honest_share",
        "oracle_mean_difference",
    ]


def test_a_missing_score_is_a_missed_limit() -> None:
    numbers = {"right": 1.0, "choice_mass": 1.0, "honest_share": 0.5, "prompting": float("nan")}
    limits = Limits(obeyed_toward=None, obeyed_away=None, prompting=97)
    assert acceptance.missed(numbers, TINY.model_copy(update={"limits": limits})) == [
        "prompting is nan, below 97.0"
    ]


def test_the_share_is_called_after_the_value() -> None:
    recipe = RECIPES["generosity"].model_copy(update={"limits": Limits(obeyed_toward=None, obeyed_away=None)})
    numbers = {"right": 1.0, "choice_mass": 1.0, "honest_share": 0.5, "generous_share": 0.7}
    assert acceptance.missed(numbers, recipe) == ["generous_share is 0.700, outside 0.35 to 0.65"]


def test_frozen_recipes_say_honest_share() -> None:
    assert Limits.model_validate({"honest_share": [0.1, 0.2]}).toward_share == (0.1, 0.2)


@pytest.mark.parametrize("name", sorted(RECIPES))
def test_cards_say_what_was_not_measured(name: str) -> None:
    assert "without acceptance" in card.write(RECIPES[name], {}, "0")
