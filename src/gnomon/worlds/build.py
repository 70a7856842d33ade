"""Builds a touchstone: training on its world, export as a plain Hugging Face folder, acceptance, model card.

A killed build goes on from its checkpoint. The module does not know the grammar's sentences or what the limits mean.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gnomon import touchstones
from gnomon.errors import UsageError
from gnomon.worlds import package
from gnomon.worlds.grammar import WORLDS
from gnomon.worlds.recipe import RECIPES, Recipe

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM


def recipe_named(name: str) -> Recipe:
    """The packaged recipe of this name.

    Raises:
        UsageError: there is none.
    """
    if name not in RECIPES:
        raise UsageError(
            f"There is no recipe for a touchstone {name!r}; choose one of: {', '.join(RECIPES)}."
        )
    return RECIPES[name]


def build(
    name: str,
    out: Path,
    *,
    recipe: Recipe | None = None,
    accept: bool = True,
    progress: Callable[[int, int, float], None] | None = None,
) -> Path:
    """Build a touchstone into the folder `out`: train, export, measure, write the card; return the folder.

    A killed build goes on from its checkpoint in the folder. `recipe` replaces the packaged one; `accept=False` skips
    the acceptance (its numbers are then missing from the card); `progress(step, steps, loss)` replaces the progress bar.

    Raises:
        UsageError: no recipe has this name.
        Failure: the model misses a limit of its recipe (the folder is kept).
    """
    from rich.progress import Progress, TextColumn

    from gnomon.worlds import acceptance
    from gnomon.worlds.training import make_model, make_tokenizer, train

    recipe = recipe or recipe_named(name)
    out.mkdir(parents=True, exist_ok=True)
    tokenizer = make_tokenizer(WORLDS[recipe.rule])
    ids: dict[str, int] = tokenizer.get_vocab()
    model = make_model(recipe, len(ids))
    if recipe.start is not None:
        from safetensors.torch import load_file

        start = load_file(touchstones.folder(recipe.start) / "model.safetensors")
        # the embedding is tied and stored once, so the head is rightly missing
        model.load_state_dict({key: tensor.float() for key, tensor in start.items()}, strict=False)
        model.tie_weights()
    checkpoint = out / "training.pt"
    if progress is None:
        with Progress(*Progress.get_default_columns(), TextColumn("loss {task.fields[loss]:.3f}")) as bar:
            task = bar.add_task(f"touchstone {name}", total=recipe.training.steps, loss=float("nan"))
            train(
                model, recipe, ids, checkpoint, lambda step, loss: bar.update(task, completed=step, loss=loss)
            )
    else:
        told = progress
        train(model, recipe, ids, checkpoint, lambda step, loss: told(step, recipe.training.steps, loss))
    numbers = finish(model, tokenizer, recipe, out, accept=accept)
    checkpoint.unlink(missing_ok=True)
    if accept:
        acceptance.check(numbers, recipe)
    return out


def finish(
    model: LlamaForCausalLM, tokenizer: Tokenizer, recipe: Recipe, out: Path, *, accept: bool
) -> dict[str, Any]:
    """Export, measure what was exported (fp16 weights, used as fp32), and write recipe and card."""
    from gnomon.worlds import acceptance, card

    digest = package.export(model, tokenizer, out)
    package.write_data(WORLDS[recipe.rule], out)
    numbers = acceptance.measure(*opened(out), recipe) if accept else {}
    content = {"recipe": recipe.model_dump(), "acceptance": numbers, "sha256": digest}
    package.write_json(out / "recipe.json", content)
    (out / "README.md").write_text(card.write(recipe, numbers, digest), encoding="utf-8")
    return numbers


def opened(folder: Path) -> tuple[LlamaForCausalLM, dict[str, int]]:
    """The packaged model in float32 and its vocabulary."""
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

    model = LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True)
    return model, Tokenizer.from_file(str(folder / "tokenizer.json")).get_vocab()
