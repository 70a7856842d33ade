"""gnomon's speed and memory beside repeng and steering-vectors, on one CPU thread: python benchmarks/speed.py.

CPU seconds of the process, best of several rounds in which all rows take turns, so that a busy machine disturbs every
row alike; each row is divided by the bare forward of its own environment. Models are of random weights: only their
shape matters here. Goals are printed as met or missed and never fail the run, because timings are noisy.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from peers.environment import peers_python

WORKER = Path(__file__).parent / "peers" / "worker.py"
EXTRACTION_ROUNDS = 5
DECODING_ROUNDS = 100
VOCABULARY = 50_000
BLOCKS, DECODED_BLOCKS = 8, 24
NEW_TOKENS = 16

EXTRACTION = {  # (environment, variant): what tables call it
    ("gnomon", "bare"): "bare blocks, gnomon's environment",
    ("gnomon", "gnomon"): "gnomon `lm.residuals`",
    ("peers", "bare"): "bare blocks, peers' environment",
    ("peers", "repeng"): "repeng, batch 32 (its default)",
    ("peers", "steering-vectors-32"): "steering-vectors, batch 32",
    ("peers", "steering-vectors"): "steering-vectors, batch 1 (its default)",
}
DECODING = {
    ("gnomon", "decode"): "plain, gnomon's environment",
    ("gnomon", "decode-gnomon"): "gnomon, `AddVector` at every block",
    ("gnomon", "decode-gnomon-0"): "gnomon, the same dial at alpha 0",
    ("peers", "decode"): "plain, peers' environment",
    ("peers", "decode-repeng"): "repeng, a vector at every block",
    ("peers", "decode-repeng-idle"): "repeng, wrapped without a vector",
    ("peers", "decode-steering-vectors"): "steering-vectors, a vector at every block",
}
STEERED = (("gnomon", "decode-gnomon"), ("peers", "decode-repeng"), ("peers", "decode-steering-vectors"))
SETS = {
    "shared": "two personas x 64 suffixes: 22 of about 30 tokens are shared",
    "apart": "128 prompts of about 30 tokens that share no beginning",
}
ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
# glibc then gives every large tensor back when it is freed, and does not hide the next run's need.
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}
Row = tuple[str, str]
GOALS: dict[str, dict[Row, float]] = {  # how many times gnomon's time the other row takes, at least
    "shared": {("peers", "repeng"): 4, ("peers", "steering-vectors"): 5, ("gnomon", "bare"): 0.9},
    "apart": {("peers", "repeng"): 1.5, ("gnomon", "bare"): 0.9},
}


@dataclass(frozen=True)
class Once:
    """One run of one row."""

    seconds: float
    mebibytes: float | None
    result: Any


class Worker:
    """A process of one environment that holds a model and runs rows on request."""

    def __init__(self, environment: str, job: Path, **variables: str) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  # closed in __exit__
        python = sys.executable if environment == "gnomon" else peers_python()
        self._process = subprocess.Popen(
            [python, WORKER, environment, job],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
            env={**os.environ, **ONE_THREAD, **variables},
        )

    def run(self, variant: str, chosen: str) -> Once:
        print(variant, chosen, file=self._process.stdin, flush=True)
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            self._log.seek(0)
            sys.exit(f"The worker failed at {variant} {chosen}:\n{self._log.read()[-3000:]}")
        told = json.loads(line)
        return Once(told["seconds"], told["mebibytes"], np.load(told["saved"]))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()
        self._log.close()


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        extraction(prepare(Path(folder) / "extraction", BLOCKS, 512, 8, VOCABULARY, contrast_sets()))
        one = {"one": [[sentence(random.Random(0), 16)] * 2]}
        decoding(prepare(Path(folder) / "decoding", DECODED_BLOCKS, 128, 4, 1000, one))


# -- the models and the prompts --------------------------------------------------------------------------------------


def prepare(folder: Path, blocks: int, width: int, heads: int, words: int, sets: dict[str, Any]) -> Path:
    """Save a random Qwen2 with a word-level tokenizer, and the job that names it; returns the job's path."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    vocabulary = {"<pad>": 0, "<eos>": 1, "<unk>": 2} | {f"w{i}": i for i in range(3, words)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    ).save_pretrained(folder / "model")
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=words,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=None,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder / "model")
    job = folder / "job.json"
    told = {"model": str(folder / "model"), "sets": sets, "new_tokens": NEW_TOKENS}
    job.write_text(json.dumps(told), "utf-8")
    return job


def contrast_sets() -> dict[str, list[tuple[str, str]]]:
    """64 contrast pairs with and without shared beginnings, and a mixed small set that results are compared on."""
    draw = random.Random(0)
    opening, middle, word, other = (sentence(draw, length) for length in (6, 15, 1, 1))
    suffixes = [sentence(draw, draw.randint(4, 12)) for _ in range(64)]
    shared = [
        (f"{opening} {word} {middle} {suffix}", f"{opening} {other} {middle} {suffix}") for suffix in suffixes
    ]
    apart = [(sentence(draw, len(a.split())), sentence(draw, len(b.split()))) for a, b in shared]
    return {"shared": shared, "apart": apart, "check": shared[:8] + apart[:8]}


def sentence(draw: random.Random, words: int) -> str:
    return " ".join(f"w{draw.randrange(3, 1000)}" for _ in range(words))


# -- measuring -------------------------------------------------------------------------------------------------------


def rounds(
    workers: dict[str, Worker], rows: dict[Row, str], chosen: str, count: int
) -> dict[Row, list[Once]]:
    found: dict[Row, list[Once]] = {row: [] for row in rows}
    for _ in range(count):
        for environment, variant in rows:
            found[environment, variant].append(workers[environment].run(variant, chosen))
    return found


def best(runs: list[Once]) -> float:
    return min(run.seconds for run in runs)


def extraction(job: Path) -> None:
    print(
        f"## Reading every block's state at the last token: Qwen2 shape, {BLOCKS} blocks x 512, vocabulary 50,000\n"
    )
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, job)) for name in ("gnomon", "peers")}
        check = {row: runs[0].result for row, runs in rounds(workers, EXTRACTION, "check", 1).items()}
        print_agreement(check)
        for chosen, about in SETS.items():
            print_extraction(about, rounds(workers, EXTRACTION, chosen, EXTRACTION_ROUNDS), GOALS[chosen])
    print(
        "### Peak memory above the open model: prompts that share nothing, each row in a process of its own\n"
    )
    print("| | MiB |\n|---|---|")
    for (environment, variant), label in EXTRACTION.items():
        with Worker(environment, job, **GIVING_BACK) as worker:
            worker.run(variant, "check")  # what is imported or set up once is not counted
            mebibytes = worker.run(variant, "apart").mebibytes
        print(f"| {label} | {'not measured' if mebibytes is None else round(mebibytes)} |", flush=True)
    print()


def print_agreement(check: dict[Row, Any]) -> None:
    """That all rows compute the same states, which a comparison of their speed presupposes."""
    ours = check["gnomon", "gnomon"]
    for label, theirs, own in (
        ("the bare forwards of the two environments", check["peers", "bare"], check["gnomon", "bare"]),
        ("gnomon and steering-vectors", check["peers", "steering-vectors"], ours),
        ("gnomon and repeng, but for the last block", check["peers", "repeng"][:, :-1], ours[:, :-1]),
    ):
        print(f"Largest difference between {label}: {np.abs(theirs - own).max():.1e}.")
    print()


def print_extraction(about: str, found: dict[Row, list[Once]], goals: dict[Row, float]) -> None:
    print(f"### {about}\n")
    print(
        f"| | CPU s, best of {EXTRACTION_ROUNDS} | least to most | x bare | x gnomon |\n|---|---|---|---|---|"
    )
    ours = best(found["gnomon", "gnomon"])
    for row, runs in found.items():
        least, most = best(runs), max(run.seconds for run in runs)
        bare = best(found[row[0], "bare"])
        spread = f"{least:.2f} to {most:.2f}"
        print(f"| {EXTRACTION[row]} | {least:.2f} | {spread} | {least / bare:.2f} | {least / ours:.2f} |")
    print("\n`x bare` divides by the bare blocks of the same environment, `x gnomon` by gnomon's row.\n")
    for row, wanted in goals.items():
        reached = best(found[row]) / ours
        met = "met" if reached >= wanted else "missed"
        print(f"- {EXTRACTION[row]} takes {reached:.2f} times gnomon's time, goal {wanted:g} or more: {met}")
    print(flush=True)


def decoding(job: Path) -> None:
    print(
        f"## Steered decoding: Qwen2 shape, {DECODED_BLOCKS} blocks x 128, KV cache, batch 1, {NEW_TOKENS} tokens by "
        "`model.generate`\n"
    )
    with ExitStack() as stack:
        workers = {name: stack.enter_context(Worker(name, job)) for name in ("gnomon", "peers")}
        warm = {row: runs[0].result.tolist() for row, runs in rounds(workers, DECODING, "one", 1).items()}
        found = rounds(workers, DECODING, "one", DECODING_ROUNDS)
    steered = {tuple(warm[row]) for row in DECODING if row in STEERED}
    others = {tuple(warm[row]) for row in DECODING if row not in STEERED}
    same = len(steered) == len(others) == 1 and steered != others
    print(f"All steered rows write one text, and all others another: {'yes' if same else 'NO'}.\n")
    print(
        f"| | us per block and token, best of {DECODING_ROUNDS} | least to most | added |\n|---|---|---|---|"
    )
    each = 1e6 / (DECODED_BLOCKS * NEW_TOKENS)
    added = {}
    for row, runs in found.items():
        low, high = best(runs) * each, max(run.seconds for run in runs) * each
        added[row] = low - best(found[row[0], "decode"]) * each
        print(f"| {DECODING[row]} | {low:.1f} | {low:.1f} to {high:.1f} | {added[row]:+.1f} |")
    print()
    for row, wanted in ((("gnomon", "decode-gnomon"), 8), (("gnomon", "decode-gnomon-0"), 1)):
        met = "met" if added[row] <= wanted else "missed"
        print(f"- {DECODING[row]} adds {added[row]:.1f} us per block and token, goal {wanted} or less: {met}")
    print()


if __name__ == "__main__":
    main()
