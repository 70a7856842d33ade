"""Continuing texts: batched generation with a KV cache, streaming, and neutral text from the model itself.

Every row is padded on the left and carries its own mask and position ids; a prompt's random numbers depend on the
seed and its own index alone, so a batch says what its rows would say one by one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from gnomon.errors import UsageError
from gnomon.lm.batches import in_batches, pad
from gnomon.lm.prompts import Prompt

if TYPE_CHECKING:
    from gnomon.lm.model import LM

_SHORTEST_SAMPLE = 8


@dataclass(frozen=True)
class Sample:
    """A text that the model wrote: what it was asked (nothing on a base model), and the tokens of its own."""

    prompt: Prompt
    tokens: tuple[int, ...]


@dataclass(frozen=True)
class _Wish:
    max_new_tokens: int
    temperature: float
    seed: int
    min_new_tokens: int = 0


def generate(
    lm: LM, prompts: Sequence[Prompt], max_new_tokens: int, temperature: float, seed: int
) -> list[str]:
    """Continue every prompt; see `LM.generate`."""
    return [decode(lm, row) for row in _continue(lm, prompts, _checked(max_new_tokens, temperature, seed))]


def continuations(
    lm: LM, prompts: Sequence[Prompt], max_new_tokens: int, temperature: float, seed: int
) -> list[list[int]]:
    """The tokens that continue every prompt; see `LM.continuations`."""
    return _continue(lm, prompts, _checked(max_new_tokens, temperature, seed))


def stream(lm: LM, prompt: Prompt, max_new_tokens: int, temperature: float, seed: int) -> Iterator[str]:
    """Continue one prompt piece by piece; see `LM.stream`."""
    # Encoded here and not at the first `next`, so that the prompt is read under the edits that are active now.
    ids = lm.encode([prompt])
    wish = _checked(max_new_tokens, temperature, seed)
    active = list(lm.active)

    def pieces() -> Iterator[str]:
        tokens: list[int] = []
        said = ""
        for (token,) in _steps(lm, ids, [0], wish):
            if token is None:
                break
            tokens.append(token)
            text = decode(lm, tokens)
            # A character can be spread over several tokens; until it is whole it decodes to U+FFFD.
            if text.startswith(said) and not text.endswith("\ufffd"):
                yield text[len(said) :]
                said = text
            if lm.active != active:
                raise UsageError(
                    "The edits changed while a text was streaming: use it up inside the with block."
                )
        text = decode(lm, tokens)
        if len(text) > len(said):
            yield text[len(said) :]

    return pieces()


def sample_neutral(lm: LM, n: int, max_tokens: int, seed: int) -> list[Sample]:
    """Texts of the model's own; see `LM.sample_neutral`."""
    lines = small_talk()
    opens = lm.tokenizer.bos_token_id is not None or lm.tokenizer.eos_token_id is not None
    asks = lm.is_chat or not opens
    prompts: list[Prompt] = [lines[i % len(lines)] if asks else "" for i in range(n)]
    wish = replace(_checked(max_tokens, 1.0, seed), min_new_tokens=min(_SHORTEST_SAMPLE, max_tokens))
    rows = _continue(lm, prompts, wish)
    return [Sample(prompt, tuple(row)) for prompt, row in zip(prompts, rows, strict=True)]


def small_talk() -> list[str]:
    """The packaged lines that neutral text begins with."""
    return resources.files(__package__).joinpath("small_talk.txt").read_text("utf-8").splitlines()


def decode(lm: LM, tokens: Sequence[int]) -> str:
    """The text of generated tokens, without special tokens."""
    text: str = lm.tokenizer.decode(list(tokens), skip_special_tokens=True)
    return text


def _checked(max_new_tokens: int, temperature: float, seed: int) -> _Wish:
    if max_new_tokens < 1:
        raise UsageError(f"max_new_tokens must be at least 1, not {max_new_tokens}.")
    if not temperature >= 0:
        raise UsageError(f"The temperature must be 0 (the likeliest token) or positive, not {temperature}.")
    if seed < 0:
        raise UsageError(f"The seed must not be negative, it is {seed}.")
    return _Wish(max_new_tokens, temperature, seed)


def _continue(lm: LM, prompts: Sequence[Prompt], wish: _Wish) -> list[list[int]]:
    ids = lm.encode(prompts)
    costs = [len(row) + wish.max_new_tokens for row in ids]
    order = sorted(range(len(ids)), key=lambda row: (lm.alphas_of(row), costs[row]))
    result: list[list[int]] = [[] for _ in ids]
    for rows, texts in in_batches(
        lm, costs, order, lm.rows_per_batch, lambda rows: _whole(lm, ids, rows, wish)
    ):
        for row, tokens in zip(rows, texts, strict=True):
            result[row] = tokens
    return result


def _whole(lm: LM, ids: Sequence[Sequence[int]], rows: list[int], wish: _Wish) -> list[list[int]]:
    texts: list[list[int]] = [[] for _ in rows]
    for step in _steps(lm, ids, rows, wish):
        for text, token in zip(texts, step, strict=True):
            if token is not None:
                text.append(token)
    return texts


@torch.no_grad()
def _steps(lm: LM, ids: Sequence[Sequence[int]], rows: list[int], wish: _Wish) -> Iterator[list[int | None]]:
    """The next token of every row, step by step; None once a row has ended. Ends where the context is full."""
    tokens = pad([ids[row] for row in rows], lm.device, side="left")
    width = tokens.input_ids.shape[1]
    steps = wish.max_new_tokens
    if lm.context is not None:
        steps = min(steps, lm.context - max(len(ids[row]) for row in rows) + 1)
    mask = torch.cat([tokens.attention_mask, tokens.attention_mask.new_ones(len(rows), steps)], dim=1)
    draws = torch.tensor(
        np.stack([np.random.default_rng([wish.seed, row]).random(steps) for row in rows]), dtype=torch.float32
    ).to(lm.device)
    ends = torch.tensor(sorted(lm.end_tokens), dtype=torch.long, device=lm.device)
    cache = lm.new_cache()
    running = [True] * len(rows)
    tokens = replace(tokens, attention_mask=mask[:, :width])
    for step in range(steps):
        logits = lm.forward(tokens, rows, cache=cache, keep=1)[:, -1].float()
        if step < wish.min_new_tokens:
            logits[:, ends] = -torch.inf
        chosen = _choose(logits, wish.temperature, draws[:, step])
        picked = chosen.tolist()
        running = [alive and token not in lm.end_tokens for alive, token in zip(running, picked, strict=True)]
        yield [token if alive else None for token, alive in zip(picked, running, strict=True)]
        if not any(running):
            return
        tokens = replace(
            tokens,
            input_ids=chosen.unsqueeze(1),
            attention_mask=mask[:, : width + step + 1],
            position_ids=tokens.position_ids[:, -1:] + 1,
        )


def _choose(logits: Tensor, temperature: float, draws: Tensor) -> Tensor:
    """The likeliest token, or the one where the cumulative distribution passes the row's random number."""
    if temperature == 0:
        return logits.argmax(dim=-1)
    cumulative = (logits / temperature).softmax(dim=-1).cumsum(dim=-1)
    # Scaled by the last value, so that rounding never leaves a number above the whole.
    wanted = (draws.unsqueeze(1) * cumulative[:, -1:]).clamp(max=cumulative[:, -1:] * (1 - 1e-6))
    return torch.searchsorted(cumulative, wanted, right=True).squeeze(1)
