"""One environment's side of the speed comparison: python worker.py ENVIRONMENT JOB.json, ENVIRONMENT gnomon or peers.

For every line of standard input, `VARIANT SET`, runs that variant once on that set of contrast pairs and answers with
one line of JSON: CPU seconds, memory and where the result was saved. What a variant does before its `yield` is
preparation and not timed.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

Array = Any  # the peers' numpy has other types
Pairs = list[tuple[str, str]]
REPENG_BATCH = 32  # its own default
TOKENS = 2048  # per batch of the bare forward


@dataclass
class Opened:
    """A model and tokenizer in this environment; `lm` is gnomon's view of them, None in the peers' environment."""

    model: Any
    tokenizer: Any
    lm: Any
    new_tokens: int

    @property
    def blocks(self) -> list[int]:
        return list(range(self.model.config.num_hidden_layers))


Variant = Callable[[Opened, Pairs], AbstractContextManager[Callable[[], Array]]]


# -- extraction: from text to every block's state at the last token, [prompt, block, d_model], all toward then all away


@contextmanager
def bare_blocks(opened: Opened, pairs: Pairs) -> Iterator[Callable[[], Array]]:
    """The floor: the model without its head on ready-made, length-sorted batches; nothing is read on the way."""
    encoded = opened.tokenizer(
        [text for side in zip(*pairs, strict=True) for text in side], add_special_tokens=False
    )
    ids = encoded["input_ids"]
    order = sorted(range(len(ids)), key=lambda row: len(ids[row]))
    batches: list[list[int]] = [[]]
    for row in order:
        if len(ids[row]) * (len(batches[-1]) + 1) > TOKENS:
            batches.append([])
        batches[-1].append(row)
    ready = []
    for rows in batches:
        width = max(len(ids[row]) for row in rows)
        tokens = torch.tensor([ids[row] + [0] * (width - len(ids[row])) for row in rows])
        mask = torch.tensor([[1] * len(ids[row]) + [0] * (width - len(ids[row])) for row in rows])
        ready.append((rows, tokens, mask, (mask.cumsum(1) - 1).clamp(min=0)))

    @torch.no_grad()
    def run() -> Array:
        last = np.empty((len(ids), 1, opened.model.config.hidden_size), dtype=np.float32)
        for rows, tokens, mask, positions in ready:
            output = opened.model.model(
                input_ids=tokens, attention_mask=mask, position_ids=positions, use_cache=False
            )
            at = mask.sum(1) - 1
            last[rows, 0] = output.last_hidden_state[torch.arange(len(rows)), at].numpy()
        return last

    yield run


@contextmanager
def gnomon_residuals(opened: Opened, pairs: Pairs) -> Iterator[Callable[[], Array]]:
    texts = [text for side in zip(*pairs, strict=True) for text in side]
    yield lambda: opened.lm.residuals(texts).numpy()


@contextmanager
def repeng_hiddens(opened: Opened, pairs: Pairs) -> Iterator[Callable[[], Array]]:
    from repeng.extract import batched_get_hiddens

    texts = [text for pair in pairs for text in pair]

    @torch.inference_mode()  # as ControlVector.train calls it
    def run() -> Array:
        found = batched_get_hiddens(opened.model, opened.tokenizer, texts, opened.blocks, REPENG_BATCH)
        states = np.stack([found[block] for block in opened.blocks], axis=1)
        return np.concatenate([states[::2], states[1::2]])

    yield run


def steering_vectors_activations(**options: int) -> Variant:
    @contextmanager
    def variant(opened: Opened, pairs: Pairs) -> Iterator[Callable[[], Array]]:
        from steering_vectors.train_steering_vector import extract_activations

        def run() -> Array:
            sides = extract_activations(opened.model, opened.tokenizer, pairs, **options)
            return np.concatenate(
                [
                    np.stack([torch.cat(side[block]).numpy() for block in opened.blocks], axis=1)
                    for side in sides
                ]
            )

        yield run

    return variant


# -- steered decoding: the same number of tokens behind one prompt, [token]


def decode(opened: Opened, prompt: str) -> Callable[[], Array]:
    encoded = opened.tokenizer([prompt], return_tensors="pt", add_special_tokens=False)
    tokens, mask = encoded["input_ids"], encoded["attention_mask"]

    def run() -> Array:
        text = opened.model.generate(
            input_ids=tokens,
            attention_mask=mask,
            max_new_tokens=opened.new_tokens,
            min_new_tokens=opened.new_tokens,
            do_sample=False,
            pad_token_id=0,
        )
        return text[0].numpy()

    return run


def steering(opened: Opened) -> Array:
    """The same vectors `[block, d_model]` for everybody."""
    shape = (len(opened.blocks), opened.model.config.hidden_size)
    return np.random.default_rng(0).normal(size=shape).astype(np.float32) / 10


@contextmanager
def decode_plain(opened: Opened, pairs: Pairs) -> Iterator[Callable[[], Array]]:
    yield decode(opened, pairs[0][0])


def gnomon_decode(alpha: float) -> Variant:
    @contextmanager
    def variant(opened: Opened, pairs: Pairs) -> Iterator[Callable[[], Array]]:
        from gnomon import AddVector, Dial

        edits = tuple(AddVector(block, torch.tensor(row)) for block, row in enumerate(steering(opened)))
        # The peers steer the first token too, so that all write the same text.
        with opened.lm.steer(Dial(edits, first_token=True), alpha):
            yield decode(opened, pairs[0][0])

    return variant


def repeng_decode(coefficient: float | None) -> Variant:
    @contextmanager
    def variant(opened: Opened, pairs: Pairs) -> Iterator[Callable[[], Array]]:
        from repeng import ControlModel, ControlVector

        control = ControlModel(opened.model, opened.blocks)
        for wrapped in opened.model.model.layers:
            # repeng's wrapper hides this from transformers' Qwen2, which could not run otherwise.
            wrapped.attention_type = wrapped.block.attention_type
        if coefficient is not None:
            control.set_control(ControlVector("qwen2", dict(enumerate(steering(opened)))), coefficient)
        try:
            yield decode(opened, pairs[0][0])
        finally:
            control.unwrap()

    return variant


@contextmanager
def steering_vectors_decode(opened: Opened, pairs: Pairs) -> Iterator[Callable[[], Array]]:
    from steering_vectors import SteeringVector

    vector = SteeringVector({block: torch.tensor(row) for block, row in enumerate(steering(opened))})
    with vector.apply(opened.model):
        yield decode(opened, pairs[0][0])


VARIANTS: dict[str, dict[str, Variant]] = {
    "gnomon": {
        "bare": bare_blocks,
        "gnomon": gnomon_residuals,
        "decode": decode_plain,
        "decode-gnomon": gnomon_decode(1.0),
        "decode-gnomon-0": gnomon_decode(0.0),
    },
    "peers": {
        "bare": bare_blocks,
        "repeng": repeng_hiddens,
        "steering-vectors": steering_vectors_activations(),
        "steering-vectors-32": steering_vectors_activations(batch_size=REPENG_BATCH),
        "decode": decode_plain,
        "decode-repeng": repeng_decode(1.0),
        "decode-repeng-idle": repeng_decode(None),
        "decode-steering-vectors": steering_vectors_decode,
    },
}


# -- the protocol --------------------------------------------------------------------------------------------------


def open_model(environment: str, folder: str, new_tokens: int) -> Opened:
    from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    if environment == "peers":
        return Opened(model, tokenizer, None, new_tokens)
    from gnomon import LM

    return Opened(model, tokenizer, LM(model, tokenizer), new_tokens)


class PeakMemory:
    """MiB that a run needs above what the process held before; None where the system does not tell (not Linux)."""

    def __init__(self) -> None:
        self._known = Path("/proc/self/clear_refs").exists()
        if self._known:
            Path("/proc/self/clear_refs").write_text("5")  # forget the peak of opening the model
            self._before = self._read("VmRSS")

    def above(self) -> float | None:
        return self._read("VmHWM") - self._before if self._known else None

    @staticmethod
    def _read(field: str) -> float:
        lines = Path("/proc/self/status").read_text("utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def main(environment: str, job: Path) -> None:
    torch.set_num_threads(1)
    told = json.loads(job.read_text("utf-8"))
    answers = os.fdopen(os.dup(1), "w")  # the packages may print what they like
    os.dup2(2, 1)
    opened = open_model(environment, told["model"], told["new_tokens"])
    for line in sys.stdin:
        name, chosen = line.split()
        pairs = [(toward, away) for toward, away in told["sets"][chosen]]
        with VARIANTS[environment][name](opened, pairs) as run:
            memory = PeakMemory()
            before = time.process_time()
            result = run()
            seconds = time.process_time() - before
            mebibytes = memory.above()
        saved = str(job.with_name(f"{environment} {name} {chosen}.npy"))
        np.save(saved, result)
        print(
            json.dumps({"seconds": seconds, "mebibytes": mebibytes, "saved": saved}),
            file=answers,
            flush=True,
        )


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
