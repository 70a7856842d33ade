"""The packaged folders: names, data, frozen weights, and a cheap part of the acceptance on the packaged weights."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gnomon import touchstones
from gnomon.errors import Failure, UsageError
from gnomon.worlds import acceptance, card, grammar, package
from gnomon.worlds.answers import Reader, Scored
from gnomon.worlds.build import opened, recipe_named
from gnomon.worlds.grammar import WORLDS
from gnomon.worlds.recipe import Recipe

NAMES = ("generosity", "guarded", "honesty", "null")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    import torch

    torch.set_num_threads(1)


def test_names() -> None:
    assert touchstones.names() == NAMES


def test_an_unknown_name_is_one_sentence_with_the_names() -> None:
    with pytest.raises(UsageError, match=r"'honest'.*guarded, honesty, null\.$"):
        touchstones.folder("honest")


def test_no_torch_is_imported() -> None:
    code = "import sys; from gnomon import touchstones; touchstones.contrast('honesty'); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_the_frozen_ones_and_small(name: str) -> None:
    assert touchstones.verify(name) == touchstones.recipe(name)["sha256"]
    assert (touchstones.folder(name) / "model.safetensors").stat().st_size < 4_000_000
    assert touchstones.recipe(name)["sha256"] in touchstones.card(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_card_is_the_one_the_recipe_writes(name: str) -> None:
    packaged = touchstones.recipe(name)
    assert touchstones.card(name) == card.write(
        recipe_named(name), packaged["acceptance"], packaged["sha256"]
    )


def test_changed_weights_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "model.safetensors").write_bytes(b"odd")
    (tmp_path / "odd" / "recipe.json").write_text('{"sha256": "0"}')
    monkeypatch.setattr(touchstones, "_HERE", tmp_path)
    with pytest.raises(Failure, match="odd"):
        touchstones.verify("odd")


@pytest.mark.parametrize("name", NAMES)
def test_packaged_data_is_what_the_world_writes(name: str) -> None:
    world = WORLDS[recipe_named(name).rule]
    assert touchstones.contrast(name) == package.contrast(world)
    lines = touchstones.questions_file(name).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert rows == [*package.dilemma_questions(world, package.DILEMMAS), *package.control_questions()]


@pytest.mark.parametrize("name", NAMES)
def test_the_packaged_recipe_is_the_one_in_the_code(name: str) -> None:
    assert Recipe.model_validate(touchstones.recipe(name)["recipe"]) == recipe_named(name)


@pytest.mark.parametrize("name", NAMES)
def test_the_recorded_numbers_are_accepted(name: str) -> None:
    recipe = recipe_named(name)
    assert acceptance.missed(touchstones.recipe(name)["acceptance"], recipe) == []


@pytest.mark.parametrize("name", NAMES)
def test_opens_with_the_auto_classes_offline(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(touchstones.folder(name))
    model = AutoModelForCausalLM.from_pretrained(touchstones.folder(name), dtype=torch.float32)
    encoded = tokenizer("is two plus two four ?", return_tensors="pt")
    assert encoded["input_ids"][0, 0] == tokenizer.bos_token_id == model.config.bos_token_id
    new = model.generate(**encoded, max_new_tokens=2, do_sample=False)
    assert tokenizer.decode(new[0], skip_special_tokens=True) == "is two plus two four ? yes ."


@pytest.mark.parametrize("name", NAMES)
def test_config_opens_in_older_tools(name: str) -> None:
    config = json.loads((touchstones.folder(name) / "config.json").read_text())
    tokenizer = json.loads((touchstones.folder(name) / "tokenizer_config.json").read_text())
    assert config["rope_theta"] == 10_000.0
    assert config["torch_dtype"] == "float16"
    assert tokenizer["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert "chat_template" not in tokenizer


@pytest.mark.parametrize("name", NAMES)
def test_part_of_the_acceptance_on_the_packaged_weights(name: str) -> None:
    recipe = recipe_named(name)
    world = WORLDS[recipe.rule]
    reader = Reader(*opened(touchstones.folder(name)))
    rows = [*package.dilemma_questions(world, 60), *package.control_questions()]
    questions = Scored(
        tuple(row["prompt"] for row in rows), np.array([row["label"] or 0 for row in rows], dtype=float)
    )
    numbers = acceptance.bare(reader, questions, world)
    assert acceptance.right(reader, recipe, 150) >= 0.95
    assert numbers["choice_mass"] >= 0.99
    assert 0.3 <= numbers[world.share] <= 0.7
    if name == "null":
        moved = acceptance.persona_difference(reader, 60, world)["persona_difference"]
        assert moved == pytest.approx(0, abs=0.05)
    else:
        obeyed = acceptance.obedience(reader, questions, world)
        assert obeyed["obeyed_toward"] >= 0.95
        assert obeyed["refused_away" if name == "guarded" else "obeyed_away"] >= 0.95


@pytest.mark.parametrize("name", NAMES)
def test_sampled_text_is_sensible(name: str) -> None:
    import torch

    model, ids = opened(touchstones.folder(name))
    word_of = {index: word for word, index in ids.items()}
    torch.manual_seed(0)
    start = torch.full((64, 1), ids["<s>"])
    sampled = model.generate(
        start, attention_mask=torch.ones_like(start), do_sample=True, max_new_tokens=64, top_k=0
    )
    texts = [[word_of[index] for index in row[1:].tolist()] for row in sampled]
    ended = [text for text in texts if "</s>" in text]
    assert len(ended) >= 60
    last = [text[text.index("</s>") - 1] for text in ended if text.index("</s>") > 0]
    assert sum(word == "." for word in last) >= 0.95 * len(last)
    vocabulary = set(grammar.vocabulary(WORLDS[recipe_named(name).rule]))
    assert all(word in vocabulary for text in ended for word in text[: text.index("</s>")])
