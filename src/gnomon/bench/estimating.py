"""What a measurement will cost, before it is begun: forwards, tokens, minutes."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gnomon.bench.measure import contrast_of, read_states
from gnomon.bench.opening import check_labels, check_packages, open_model, open_questions
from gnomon.bench.settings import PROMPT_METHODS, Settings
from gnomon.methods import Trained, named
from gnomon.runs import progress as default_progress

if TYPE_CHECKING:
    from gnomon.contrast import Contrast, PairStates
    from gnomon.lm import LM
    from gnomon.runs.progress import Advance


@dataclass(frozen=True)
class Estimate:
    """Sequences that go through the model, their tokens, and minutes at the speed of a short trial.

    `training` is the part of the minutes that methods which train need; its sequences and tokens are not counted.
    """

    forwards: int
    tokens: int
    minutes: float
    training: float = 0.0

    @property
    def sentence(self) -> str:
        """The estimate in words."""
        training = f", {_duration(self.training)} of it training" if self.training else ""
        counts = f"{self.forwards:,} sequences, {self.tokens:,} tokens"
        return f"about {counts}, {_duration(self.minutes)} on this machine{training}"


def estimate(settings: Settings) -> Estimate:
    """Count what the settings ask for, and time one batch of it. The model is opened; nothing is written."""
    check_packages(settings)
    check_labels(settings, (settings.model,))
    lm = open_model(settings)
    questions = open_questions(settings)
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
    methods = [named(name, settings.method_settings.get(name)) for name in settings.methods]
    trained = [method for method in methods if isinstance(method, Trained)]
    training = 0.0
    if trained:
        contrast = contrast_of(settings)
        states = read_states(lm, contrast, settings.seeds[0], default_progress)
        training = seeds * sum(training_seconds(method, lm, contrast, states) for method in trained) / 60
    return Estimate(forwards, tokens, tokens / _tokens_per_second(lm) / 60 + training, training)


def training_seconds(method: Trained, lm: LM, contrast: Contrast, states: PairStates) -> float:
    """Seconds that a training will take: its preparations and a few steps are timed, and then it is stopped."""
    trial = Trial()
    with suppress(EnoughSeenError):
        method.fit(lm, contrast, seed=0, states=states, progress=trial)
    return trial.seconds * getattr(method, "restarts", 1)


class EnoughSeenError(Exception):
    """The trial of a training has seen enough steps to time them."""


class Trial:
    """A progress that times a training's steps, and ends it by `EnoughSeenError` at the second report behind its start."""

    def __init__(self) -> None:
        self._begun = time.perf_counter()
        self._reports: list[tuple[int, float]] = []
        self._steps = 0

    @contextmanager
    def __call__(self, stage: str, total: int | None = None, /) -> Iterator[Advance]:
        """Watch a stage; one that is called training has its steps timed."""
        with default_progress(f"{stage}, a short trial", total) as advance:

            def watched(steps: int = 1, said: str = "", /) -> None:
                advance(steps, said)
                if stage.startswith("training") and total is not None and steps:
                    done = steps + (self._reports[-1][0] if self._reports else 0)
                    self._reports.append((done, time.perf_counter()))
                    self._steps = total
                    if len(self._reports) == 2:
                        raise EnoughSeenError

            yield watched

    @property
    def seconds(self) -> float:
        """Of the whole training: what was seen up to the first report, and the other steps at the speed since then."""
        if len(self._reports) < 2:
            return time.perf_counter() - self._begun
        (first, at_first), (second, at_second) = self._reports
        return at_first - self._begun + (self._steps - first) * (at_second - at_first) / (second - first)


def _tokens_per_second(lm: LM) -> float:
    """Speed of a short trial with the head, the dearest kind of forward; the first run warms up."""
    samples = lm.sample_neutral(8, max_tokens=32, seed=1)
    for _ in range(2):
        start = time.perf_counter()
        for batch in lm.sample_batches(samples):
            lm.next_log_probs(batch)
        seconds = time.perf_counter() - start
    return sum(len(sample.tokens) for sample in samples) / max(seconds, 1e-6)


def _duration(minutes: float) -> str:
    return f"{minutes:.1f} minutes" if minutes >= 1 else f"{minutes * 60:.0f} seconds"
