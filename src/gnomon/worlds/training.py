"""Trains a world's model: batches of documents without padding to speak of, weighted loss, checkpoints to resume from.

The module does not know what the sentences mean, how a model is exported, or what it has to measure afterwards.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from gnomon.errors import Failure
from gnomon.worlds import grammar, latents
from gnomon.worlds.planted import Planted
from gnomon.worlds.recipe import Direction, Recipe
from gnomon.worlds.world import World

if TYPE_CHECKING:
    import torch
    from tokenizers import Tokenizer
    from transformers import LlamaForCausalLM

SPECIAL = ("<pad>", "<s>", "</s>", "<unk>")
PAD, BEGIN, END, UNKNOWN = range(4)
# Documents are drawn in chunks of this many steps and sorted by length, so that padding stays rare.
STEPS_PER_CHUNK = 50
REPORT_EVERY = 20


def make_tokenizer(world: World) -> Tokenizer:
    """One token per word of the world; `<s>` is put in front, words are joined by spaces."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors

    ids = {word: index for index, word in enumerate([*SPECIAL, *grammar.vocabulary(world)])}
    tokenizer = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", BEGIN)]
    )
    # WordPiece without a prefix is the decoder that joins tokens by single spaces
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=False)
    tokenizer.add_special_tokens(list(SPECIAL))
    return tokenizer


def make_model(recipe: Recipe, vocabulary_size: int) -> LlamaForCausalLM:
    """A Llama of the recipe's shape with random weights (seeded)."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(recipe.seed)
    shape = recipe.shape
    config = LlamaConfig(
        vocab_size=vocabulary_size,
        hidden_size=shape.width,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.blocks,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.positions,
        rope_parameters={"rope_type": "default", "rope_theta": shape.rope_theta},
        tie_word_embeddings=True,
        bos_token_id=BEGIN,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    return LlamaForCausalLM(config)


@dataclass(frozen=True)
class Batch:
    """`tokens`, `weights`, `others`, `doubts`: `[row, position]`; `said`, `added`: `[row]`, shares of a plain persona."""

    tokens: torch.Tensor
    weights: torch.Tensor
    others: torch.Tensor
    doubts: torch.Tensor
    said: torch.Tensor
    added: torch.Tensor


def encode(documents: list[latents.Document], ids: dict[str, int], answer_weight: float) -> Batch:
    """Documents as tensors, padded on the right with weight 0."""
    import torch

    columns: list[list[tuple[int, float, int, float]]] = []
    for document in documents:
        row = [(BEGIN, 0.0, PAD, 0.0)]
        for span in document.spans:
            tokens = [ids[word] for word in span.text.split()]
            # only the first word of an answer may be another one; what follows is the same full stop
            other = [ids[span.other.split()[0]] if span.other else PAD] + [PAD] * (len(tokens) - 1)
            doubt = [span.doubt] + [0.0] * (len(tokens) - 1)
            weight = [answer_weight if span.is_answer else 1.0] * len(tokens)
            row += zip(tokens, weight, other, doubt, strict=True)
        columns.append([*row, (END, 1.0, PAD, 0.0)])
    longest = max(map(len, columns))
    filled = [row + [(PAD, 0.0, PAD, 0.0)] * (longest - len(row)) for row in columns]
    tokens_, weights_, others_, doubts_ = (
        torch.tensor([[entry[field] for entry in row] for row in filled]) for field in range(4)
    )
    said = torch.tensor([0.0 if document.silent else document.share for document in documents])
    added = torch.tensor([document.share if document.silent else 0.0 for document in documents])
    return Batch(tokens_, weights_, others_, doubts_, said, added)


def batches(recipe: Recipe, ids: dict[str, int], first_step: int) -> Iterator[Batch]:
    """Endless training batches; chunk `c` depends on the seed and `c` only, so a resumed build sees the same ones."""
    training = recipe.training
    chunk, skip = divmod(first_step, STEPS_PER_CHUNK)
    silent = 0.0 if training.direction is None else training.direction.silent
    while True:
        random_ = random.Random(f"{recipe.seed}/{chunk}")
        closed = chunk * STEPS_PER_CHUNK >= training.closed_from
        count = STEPS_PER_CHUNK * training.documents_per_step
        documents = [
            grammar.document(random_, recipe.rule, closed=closed, silent=silent) for _ in range(count)
        ]
        documents.sort(key=lambda document: document.text.count(" "))
        starts = list(range(0, count, training.documents_per_step))
        random_.shuffle(starts)
        for start in starts[skip:]:
            yield encode(documents[start : start + training.documents_per_step], ids, training.answer_weight)
        chunk, skip = chunk + 1, 0


def loss_of(model: LlamaForCausalLM, batch: Batch, direction: Direction | None) -> torch.Tensor:
    """Weighted mean next-token cross entropy; padding is on the right, so causal attention needs no mask."""
    planted = None if direction is None else Planted(model, batch, direction)
    with nullcontext() if planted is None else planted:
        logs = model(input_ids=batch.tokens[:, :-1], use_cache=False).logits.float().log_softmax(-1)
    likely = logs.gather(2, batch.tokens[:, 1:, None])[..., 0]
    other = logs.gather(2, batch.others[:, 1:, None])[..., 0]
    doubts, weights = batch.doubts[:, 1:], batch.weights[:, 1:]
    loss: torch.Tensor = -(((1 - doubts) * likely + doubts * other) * weights).sum() / weights.sum()
    return loss if planted is None else loss + planted.loss


def train(
    model: LlamaForCausalLM,
    recipe: Recipe,
    ids: dict[str, int],
    checkpoint: Path,
    report: Callable[[int, float], None],
) -> None:
    """Train in place. A checkpoint of the same recipe is resumed; `report(step, loss)` is called now and then."""
    import torch

    training = recipe.training
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=training.learning_rate, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, max_lr=training.learning_rate, total_steps=training.steps, pct_start=training.warmup_share
    )
    step = 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        if saved["recipe"] == recipe.model_dump_json():
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            schedule.load_state_dict(saved["schedule"])
            step = saved["step"]
    model.train()
    source = batches(recipe, ids, step)
    while step < training.steps:
        loss = loss_of(model, next(source), training.direction)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        step += 1
        if step % REPORT_EVERY == 0 or step == training.steps:
            value = loss.item()
            if not math.isfinite(value):
                raise Failure(
                    f"The loss of touchstone {recipe.name!r} is {value} at step {step}; lower the learning rate of its "
                    "recipe and build it again."
                )
            report(step, value)
        if step % training.checkpoint_every == 0:
            state = {
                "recipe": recipe.model_dump_json(),
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
                "step": step,
            }
            partial = checkpoint.with_suffix(".partial")
            torch.save(state, partial)
            partial.replace(checkpoint)
    model.train(False)
