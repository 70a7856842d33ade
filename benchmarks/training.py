"""AntiPaSTO's training beside a plain implementation of the same objective: python benchmarks/training.py.

Seconds per optimiser step, peak memory and loss curves on the packaged touchstone and on a model of random weights with
Gemma-3-270m's shape; how long the whole training of `shift` takes on the touchstone; where there is a CUDA device, the same
on the shapes of Gemma-3-1B and 12B. One thread; all rows take turns. Goals are printed as met or missed and never fail the
run, because timings are noisy.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
# glibc then gives every large tensor back when it is freed, and does not hide the next run's need.
GIVING_BACK = {"MALLOC_MMAP_THRESHOLD_": "65536"}

WIDE = 262_144
SHAPES = {  # hidden, intermediate, blocks, heads, key-value heads
    "Gemma-3-270m": (640, 2048, 18, 4, 1),
    "Gemma-3-1B": (1152, 6912, 26, 4, 1),
    "Gemma-3-12B": (3840, 15360, 48, 16, 8),
}
TOUCHSTONE = "touchstone:honesty"
TEMPLATE = "please pretend that you are {a} {} person and go on :"
NAMES = {"ours": "gnomon", "plain": "plain: three forwards, full logits"}
TOUCHSTONE_STEPS, SHAPE_STEPS, MEMORY_STEPS = 60, 6, 2
GOALS = {TOUCHSTONE: 2.0, "Gemma-3-270m": 3.0}
SECONDS_OF_SHIFT = 60


def main() -> None:
    load = os.getloadavg()[0]
    print(
        f"{load:.1f} processes wanted the {os.cpu_count()} CPU cores in the minute before (load average).\n"
    )
    beside(TOUCHSTONE, TOUCHSTONE_STEPS)
    beside("Gemma-3-270m", SHAPE_STEPS)
    memory("Gemma-3-270m")
    shift()
    import torch

    for shape in ("Gemma-3-1B", "Gemma-3-12B") if torch.cuda.is_available() else ():
        beside(shape, 4 * SHAPE_STEPS)


# -- what is printed -------------------------------------------------------------------------------------------------


def beside(model: str, steps: int) -> None:
    """Seconds per optimiser step and the loss curves, of both in one process that runs them in turns."""
    told = worker("speed", model, str(steps))
    medians = {name: statistics.median(told["seconds"][name]) for name in NAMES}
    print(f"## One optimiser step: {model}, {told['batch']}\n")
    seconds_of = "s" if told["mebibytes"] else "CPU s"
    print(f"| | {seconds_of}, median of {steps} | least to most | x gnomon |")
    print("|---|---|---|---|")
    for name, said in NAMES.items():
        seconds = told["seconds"][name]
        ratio = medians[name] / medians["ours"]
        print(f"| {said} | {medians[name]:.3g} | {min(seconds):.3g} to {max(seconds):.3g} | {ratio:.2f} |")
    if told["mebibytes"]:
        print(f"\nPeak memory above the model: {json.dumps(told['mebibytes'])} MiB.")
    curves = told["losses"]
    scale = max(map(abs, curves["plain"]))
    apart = max(abs(a - b) for a, b in zip(curves["ours"], curves["plain"], strict=True)) / scale
    print(
        f"\nLargest difference of the two loss curves over {steps} steps: {apart:.1e} of the largest loss ({scale:.3g})."
    )
    if model in GOALS:
        ratio, goal = medians["plain"] / medians["ours"], GOALS[model]
        print(f"- plain takes {ratio:.2f} times gnomon's time, goal {goal:g} or more: {met(ratio >= goal)}")
        print(f"- the curves are {apart:.1e} apart, goal 1e-4 or less: {met(apart <= 1e-4)}")
    print(flush=True)


def memory(model: str) -> None:
    """Peak memory of training steps above the open model, each in a process of its own."""
    found = {name: worker("memory", model, name, **GIVING_BACK)["mebibytes"] for name in NAMES}
    print(f"## Peak memory above the open model: {model}\n\n| | MiB |\n|---|---|")
    for name, said in NAMES.items():
        print(f"| {said} | {found[name]:.0f} |" if found[name] is not None else f"| {said} | not measured |")
    if None not in found.values():
        share = found["ours"] / found["plain"]
        print(f"\n- gnomon takes {share:.2f} of plain's memory, goal 0.5 or less: {met(share <= 0.5)}")
    print(flush=True)


def shift() -> None:
    """The whole training of shift, from the words to the dial."""
    told = worker("shift", TOUCHSTONE, "0")
    print(f"## The whole training of `shift` on {TOUCHSTONE}\n")
    print(f"{told['cpu']:.1f} s of CPU time on one thread ({told['wall']:.1f} s on the clock).\n")
    print(
        f"- goal {SECONDS_OF_SHIFT} s of CPU time or less: {met(told['cpu'] <= SECONDS_OF_SHIFT)}\n",
        flush=True,
    )


def met(yes: bool) -> str:
    return "met" if yes else "missed"


def worker(*arguments: str, **variables: str) -> Any:
    """What a process of its own says in its last line."""
    done = subprocess.run(
        [sys.executable, Path(__file__), *arguments],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        sys.exit(f"The worker failed at {' '.join(arguments)}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


# -- what the workers do -----------------------------------------------------------------------------------------------


@dataclass
class Stepping:
    """One of the two under the optimiser, all terms at their final weights."""

    objective: Any
    late: int

    def __post_init__(self) -> None:
        import torch

        self.optimiser = torch.optim.AdamW(self.objective.parameters.values(), lr=2e-3, weight_decay=1e-4)

    def step(self, batch: int) -> Any:
        import torch

        self.optimiser.zero_grad(set_to_none=True)
        loss = torch.stack(list(self.objective.terms(batch, self.late).values())).sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.objective.parameters.values(), 1.0)
        self.optimiser.step()
        return loss.detach()


def speed(model: str, steps: str) -> dict[str, Any]:
    import torch

    lm = opened(model)
    both, edited, batches, n = prepared(lm, model)
    on_cuda = lm.device.type == "cuda"
    seconds: dict[str, list[float]] = {name: [] for name in both}
    losses: dict[str, list[float]] = {name: [] for name in both}
    peaks: dict[str, float] = {}
    with edited.attached():
        # The first round is not counted.
        for turn in range(-1, int(steps)):
            for name, stepping in both.items():
                if on_cuda:
                    torch.cuda.synchronize()
                    torch.cuda.reset_peak_memory_stats()
                    held = torch.cuda.memory_allocated()
                before = time.perf_counter() if on_cuda else time.process_time()
                loss = stepping.step(turn % batches)
                if on_cuda:
                    torch.cuda.synchronize()
                    peaks[name] = (torch.cuda.max_memory_allocated() - held) / 2**20
                after = time.perf_counter() if on_cuda else time.process_time()
                if turn >= 0:
                    seconds[name].append(after - before)
                    losses[name].append(float(loss))
    return {"seconds": seconds, "losses": losses, "mebibytes": peaks, "batch": f"{n} pairs"}


def peak(model: str, name: str) -> dict[str, Any]:
    lm = opened(model)
    status, forget = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not forget.exists():
        return {"mebibytes": None}

    def read(field: str) -> float:
        lines = status.read_text("utf-8").splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))

    before = read("VmRSS")
    both, edited, batches, _ = prepared(lm, model)
    # Preparing is much the same for both, and no part of a step.
    forget.write_text("5")
    with edited.attached():
        for turn in range(MEMORY_STEPS):
            both[name].step(turn % batches)
    return {"mebibytes": read("VmHWM") - before}


def whole_shift(model: str, seed: str) -> dict[str, Any]:
    from gnomon.contrast import Contrast
    from gnomon.methods import Shift

    lm = opened(model)
    cpu, wall = time.process_time(), time.monotonic()
    Shift().fit(lm, Contrast("honest", "dishonest"), seed=int(seed))
    return {"cpu": time.process_time() - cpu, "wall": time.monotonic() - wall}


def prepared(lm: Any, model: str) -> tuple[dict[str, Stepping], Any, int, int]:
    """Both, from the same parameters on the same batches; the edits of ours; how many batches of how many pairs."""
    from gnomon.contrast import Contrast
    from gnomon.methods.antipasto import CODE
    from gnomon.training.pair_rows import PairRows
    from plain_antipasto import PlainAntiPaSTO

    if model == TOUCHSTONE:
        method, contrast = CODE, Contrast("honest", "dishonest")
    else:
        pairs = 16 if lm.device.type == "cuda" else 4
        method = replace(CODE, pairs_per_step=pairs)
        contrast = Contrast("honest", "dishonest", templates=(TEMPLATE,), suffixes=suffixes(6 * pairs))
    rows = PairRows.of(lm, contrast.resolve(lm, seed=0))
    ours, edited = method.prepared(lm, rows, 0)
    batches = rows.batches(method.pairs_per_step, 0, validation=False)
    linears = lm.linears()
    plain = PlainAntiPaSTO(
        lm.model,
        [linears[base.module] for base in edited.bases],
        edited.bases,
        edited.cores.parameters,
        ours.basis,
        [[(rows.toward[pair], rows.away[pair]) for pair in batch] for batch in batches],
        block=lm.blocks[method.blocks(lm.n_blocks)[2]],
        terms=ours.weights,
    )
    late = method.schedule(len(batches)).steps
    both = {"ours": Stepping(ours, late), "plain": Stepping(plain, late)}
    return both, edited, len(batches), method.pairs_per_step


def suffixes(count: int) -> tuple[str, ...]:
    draw = random.Random(0)
    return tuple(
        " ".join(f"w{draw.randrange(300)}" for _ in range(draw.randint(8, 12))) for _ in range(count)
    )


def opened(model: str) -> Any:
    """The touchstone, or a model of random weights and a word-level tokenizer."""
    import torch

    from gnomon.lm import LM

    torch.set_num_threads(1)
    if model == TOUCHSTONE:
        return LM.load(TOUCHSTONE, device="cpu")
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig, PreTrainedTokenizerFast

    words = [*TEMPLATE.format("honest", a="a").split(), "an", "dishonest", *(f"w{i}" for i in range(300))]
    vocabulary = {
        word: i for i, word in enumerate(["<pad>", "<bos>", "<eos>", "<unk>", *dict.fromkeys(words)])
    }
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    special = {"pad_token": "<pad>", "bos_token": "<bos>", "eos_token": "<eos>", "unk_token": "<unk>"}
    hidden, intermediate, blocks, heads, key_values = SHAPES[model]
    config = Gemma3TextConfig(
        vocab_size=WIDE,
        hidden_size=hidden,
        intermediate_size=intermediate,
        num_hidden_layers=blocks,
        num_attention_heads=heads,
        num_key_value_heads=key_values,
        head_dim=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    on_cuda = torch.cuda.is_available() and model != "Gemma-3-270m"
    torch.manual_seed(0)
    with torch.device("cuda" if on_cuda else "cpu"):
        torch.set_default_dtype(torch.bfloat16 if on_cuda else torch.float32)
        network = Gemma3ForCausalLM(config)
        torch.set_default_dtype(torch.float32)
    return LM(network, PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special), name=model)


if __name__ == "__main__":
    jobs = {"speed": speed, "memory": peak, "shift": whole_shift}
    if len(sys.argv) > 1:
        print(json.dumps(jobs[sys.argv[1]](*sys.argv[2:])))
    else:
        main()
