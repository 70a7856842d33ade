"""What a measurement will cost, before it is begun: forwards, tokens, minutes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.bench.measure import contrast_of
from gnomon.bench.opening import open_model, open_questions
from gnomon.bench.settings import PROMPT_METHODS, Settings

if TYPE_CHECKING:
    from gnomon.lm import LM


@dataclass(frozen=True)
class Estimate:
    """Sequences that go through the model, their tokens, and minutes at the speed of a short trial."""

    forwards: int
    tokens: int
    minutes: float

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        minutes = f"{self.minutes:.1f} minutes" if self.minutes >= 1 else f"{self.minutes * 60:.0f} seconds"
        return f"about {self.forwards:,} sequences, {self.tokens:,} tokens, {minutes} on this machine"


def estimate(settings: Settings) -> Estimate:
    """Count what the settings ask for, and time one batch of it. The model is opened; nothing is written."""
    lm = open_model(settings)
    questions = open_questions(settings, lm)
    pairs = contrast_of(settings).resolve(lm, seed=settings.seeds[0])
    pair_tokens = sum(map(len, lm.encode([*pairs.toward, *pairs.away])))
    question_tokens = 0 if questions is None else sum(map(len, lm.encode(questions.prompts)))
    n_questions = 0 if questions is None else len(questions)
    vectors = sum(name not in PROMPT_METHODS for name in settings.methods)
    prompts = len(settings.methods) - vectors
    budgets = len(settings.sweep)
    askings = 1 + 2 * (prompts + vectors * (len(settings.strengths) + budgets))
    # The coarse curve on a sixteenth of the texts (15 levels), the fine one on a quarter, matched and native strength on
    # all, and two or three passes to meet the budget.
    neutral_passes = prompts * 3 + vectors * (1 + (2 * budgets + 1) // 4 + 5 + 8)
    neutral_tokens = settings.neutral_samples * 40
    seeds = len(settings.seeds)
    tokens = seeds * (pair_tokens + askings * question_tokens + neutral_passes * neutral_tokens)
    forwards = seeds * (2 * len(pairs) + askings * n_questions + neutral_passes * settings.neutral_samples)
    return Estimate(forwards, tokens, tokens / _tokens_per_second(lm) / 60)


def _tokens_per_second(lm: LM) -> float:
    """Speed of a short trial with the head, the dearest kind of forward; the first run warms up."""
    samples = lm.sample_neutral(8, max_tokens=32, seed=1)
    for _ in range(2):
        start = time.perf_counter()
        for batch in lm.sample_batches(samples):
            lm.next_log_probs(batch)
        seconds = time.perf_counter() - start
    return sum(len(sample.tokens) for sample in samples) / max(seconds, 1e-6)
